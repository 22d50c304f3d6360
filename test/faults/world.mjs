/** A store of its own for one run, and what can go wrong with it. */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const STARTS = {
  mariadb: (vite) => vite.ssrLoadModule('/test/servers/mariadb.ts').then(({ startMariadb }) => startMariadb()),
  postgres: (vite) => vite.ssrLoadModule('/test/servers/postgres.ts').then(({ startPostgres }) => startPostgres()),
  // What it has said it has written is on disk, or a kill of the server would take it back.
  redis: (vite) =>
    vite
      .ssrLoadModule('/test/servers/redis.ts')
      .then(({ startRedis }) => startRedis(['--appendonly', 'yes', '--appendfsync', 'always'])),
}

/** `isOutage`: nobody can be served while it lasts. */
export async function openWorld(vite, store) {
  const { makeTemporaryDirectory } = await vite.ssrLoadModule('/test/processes/guard.ts')
  const { spawnNode } = await vite.ssrLoadModule('/test/processes/spawn-node.ts')
  const directory = makeTemporaryDirectory('faults')
  if (store === 'sqlite') {
    const url = `sqlite:${join(directory, 'faults.db')}`
    return { directory, spawnNode, url, faults: [], close: async () => undefined }
  }
  if (!Object.hasOwn(STARTS, store)) throw new Error(`--store takes sqlite, ${Object.keys(STARTS).join(', ')}`)
  const { startStoreProxy } = await vite.ssrLoadModule('/test/stores/store-proxy.ts')
  const server = await STARTS[store](vite)
  const proxy = await startStoreProxy(server.url)
  const faults = [
    { run: async () => proxy.cutAll() },
    {
      async run(forMs) {
        proxy.delayMs = 150
        await sleep(forMs)
        proxy.delayMs = 0
      },
    },
    {
      // Half open: what is sent is never answered, and nothing says so.
      isOutage: true,
      async run(forMs) {
        proxy.decide = () => 'hold'
        await sleep(forMs)
        proxy.decide = () => 'pass'
        proxy.cutAll()
      },
    },
    {
      // Written, and never confirmed.
      async run() {
        proxy.decide = () => 'pass-then-cut'
        await sleep(20)
        proxy.decide = () => 'pass'
      },
    },
    {
      isOutage: true,
      async run(forMs) {
        await server.kill('SIGSTOP')
        await sleep(forMs)
        await server.kill('SIGCONT')
      },
    },
    {
      isOutage: true,
      async run() {
        await server.restart()
        proxy.cutAll()
      },
    },
  ]
  return {
    directory,
    spawnNode,
    url: proxy.url,
    faults,
    async close() {
      await proxy.close()
      await server.stop()
    },
  }
}
