/** What happens to stores, and to the way to them. */
import { rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { createConnection } from 'mysql2/promise'
import pg from 'pg'

/** What a proxy does. */
export function onTheWay(proxy) {
  return [
    { name: 'cut', run: async () => proxy.cutAll() },
    {
      name: 'delayed',
      async run(forMs) {
        proxy.delayMs = 150
        await sleep(forMs)
        proxy.delayMs = 0
      },
    },
    {
      // What is sent is never answered, and nothing says so.
      name: 'half open',
      async run(forMs) {
        proxy.decide = () => 'hold'
        await sleep(forMs)
        proxy.decide = () => 'pass'
        proxy.cutAll()
      },
    },
    {
      // Written, and never confirmed.
      name: 'answer lost',
      async run() {
        proxy.decide = () => 'pass-then-cut'
        await sleep(20)
        proxy.decide = () => 'pass'
      },
    },
    {
      // In single bytes, with a little time between.
      name: 'trickle',
      async run(forMs) {
        proxy.isTrickling = true
        await sleep(forMs)
        proxy.isTrickling = false
      },
    },
  ]
}

export function serverFaults(server, proxy) {
  return [
    {
      name: 'stopped',
      async run(forMs) {
        await server.kill('SIGSTOP')
        await sleep(forMs)
        await server.kill('SIGCONT')
      },
    },
    {
      name: 'killed',
      async run() {
        await server.restart()
        proxy.cutAll()
      },
    },
  ]
}

/** One connection beside the bots', by store; resolves to what ends it. */
const CONNECT = {
  async mariadb({ url }) {
    const connection = await createConnection(url)
    return () => connection.end()
  },
  async postgres({ url }) {
    const client = new pg.Client(url)
    client.on('error', () => undefined)
    await client.connect()
    return () => client.end()
  },
  async redis({ url }) {
    const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
    client.on('error', () => undefined)
    await client.connect()
    return async () => client.disconnect()
  },
}

/** Somebody else has taken all the connections that the server gives, and the bots lose theirs. */
export function manyConnections(store, server, proxy) {
  const taken = []
  async function take() {
    const more = await Promise.allSettled(Array.from({ length: 20 }, () => CONNECT[store](server)))
    taken.push(...more.flatMap(({ value }) => (value ? [value] : [])))
    return more.some(({ status }) => status === 'rejected')
  }
  return {
    name: 'no connection left',
    async run(forMs) {
      let isFull = false
      while (!isFull) isFull = await take()
      proxy.cutAll()
      const until = performance.now() + forMs
      while (performance.now() < until) if (await take()) await sleep(20)
      await Promise.allSettled(taken.splice(0).map((end) => end()))
    },
  }
}

export function fullMemory(server) {
  return {
    name: 'memory full',
    async run(forMs) {
      const admin = new Redis(server.url)
      admin.on('error', () => undefined)
      await admin.config('SET', 'maxmemory', '1')
      await sleep(forMs)
      await admin.config('SET', 'maxmemory', '0')
      admin.disconnect()
    },
  }
}

/** Not always an outage: SQLite goes on in the room that its file and its log have already. */
export function fullDisk(disk) {
  const filler = join(disk, 'filler')
  return {
    name: 'disk full',
    async run(forMs) {
      const { bavail, bsize } = statfsSync(disk)
      try {
        writeFileSync(filler, Buffer.alloc(bavail * bsize))
      } catch (error) {
        if (error.code !== 'ENOSPC') throw error
      }
      await sleep(forMs)
      rmSync(filler)
    },
  }
}

/** A replica takes over from its master, which hands everything over before. */
export function newMaster(cluster) {
  let turn = 0
  return {
    name: 'failover',
    async run() {
      const masters = await cluster.mastersNow()
      const replicas = cluster.nodes.filter((node) => !masters.includes(node))
      const replica = replicas[turn++ % replicas.length]
      await replica.client.cluster('FAILOVER')
      await cluster.untilWhole()
    },
  }
}
