/** A store of its own for one run, and what can go wrong with it. */
import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fullDisk, fullMemory, manyConnections, newMaster, onTheWay, serverFaults } from './store-faults.mjs'

/** Each gives `{ url, faults, close }`. Nobody needs to be served while a fault lasts. */
const WORLDS = { sqlite, mariadb: served, postgres: served, redis: served, 'redis-cluster': redisCluster }

/** Opens the store that is named so. */
export async function openWorld(vite, store) {
  if (!Object.hasOwn(WORLDS, store)) throw new Error(`--store takes ${Object.keys(WORLDS).join(', ')}`)
  const { makeTemporaryDirectory } = await vite.ssrLoadModule('/test/processes/guard.ts')
  const { spawnNode } = await vite.ssrLoadModule('/test/processes/spawn-node.ts')
  const directory = makeTemporaryDirectory('faults')
  return { directory, spawnNode, ...(await WORLDS[store](vite, store, directory)) }
}

/** On a small disk of its own, so that it can be full; where that may not be mounted, without that fault. */
async function sqlite(_vite, _store, directory) {
  const disk = join(directory, 'disk')
  mkdirSync(disk)
  const url = `sqlite:${join(disk, 'faults.db')}`
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', disk], { stdio: 'pipe' })
  } catch (error) {
    console.log(`the disk will not be full, as none can be mounted: ${error.message.trim()}`)
    return { url, faults: [], close: async () => undefined }
  }
  const close = async () => void execFileSync('umount', ['--lazy', disk])
  return { url, faults: [fullDisk(disk)], close }
}

const STARTS = {
  mariadb: (vite) => vite.ssrLoadModule('/test/servers/mariadb.ts').then(({ startMariadb }) => startMariadb()),
  postgres: (vite) => vite.ssrLoadModule('/test/servers/postgres.ts').then(({ startPostgres }) => startPostgres()),
  // What it has said it has written is on disk, or a kill of the server would take it back.
  redis: (vite) =>
    vite
      .ssrLoadModule('/test/servers/redis.ts')
      .then(({ startRedis }) => startRedis(['--appendonly', 'yes', '--appendfsync', 'always', '--maxclients', '100'])),
}

async function served(vite, store) {
  const { startStoreProxy } = await vite.ssrLoadModule('/test/stores/store-proxy.ts')
  const server = await STARTS[store](vite)
  const proxy = await startStoreProxy(server.url)
  const ofItsKind = store === 'redis' ? [fullMemory(server)] : []
  return {
    url: proxy.url,
    faults: [...onTheWay(proxy), ...serverFaults(server, proxy), manyConnections(store, server, proxy), ...ofItsKind],
    async close() {
      await proxy.close()
      await server.stop()
    },
  }
}

async function redisCluster(vite) {
  const { startRedisCluster } = await vite.ssrLoadModule('/test/servers/redis-cluster.ts')
  const cluster = await startRedisCluster()
  return { url: cluster.nodes[0].server.url, faults: [newMaster(cluster)], close: cluster.stop }
}
