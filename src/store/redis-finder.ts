/** Whether a URL or a client leads to one server or to a cluster shows when it is first asked. */
import { startLimit } from './limit.ts'
import { openCluster } from './redis-cluster.ts'
import type { Send, Source } from './redis-connection.ts'
import { type Place, type PlaceSettings, serverPlace } from './redis-place.ts'
import { isOfCluster, requireServer } from './redis-prepare.ts'
import { StoreError } from './store.ts'

/** Finds the place of the keys, once. */
export interface Finder {
  found(): Place | undefined
  /** Rejects with a {@link StoreError} where it cannot be found now, or will not do; the next call tries anew. */
  find(until: number): Promise<Place>
  /** Asks the server that was named, whatever it is like; of a cluster that has been found, one of its nodes. */
  askSeed<Value>(work: (send: Send) => Promise<Value>, until: number): Promise<Value>
  close(): Promise<void>
}

/** `isCluster`: that much is known. */
export function createFinder(seeds: readonly Source[], isCluster: boolean, settings: PlaceSettings): Finder {
  const [seed] = seeds
  if (!seed) throw new StoreError('setup', 'session-lock: the client of a Redis Cluster names no node of it')
  const server = serverPlace(seed, settings)
  let place: Place | undefined
  let finding: Promise<Place> | undefined
  let closed = false

  async function search(until: number): Promise<Place> {
    const found = isCluster ? await openCluster(seeds, settings, until) : await serverOrCluster(until)
    place = found
    if (closed) await found.close()
    return found
  }

  async function serverOrCluster(until: number): Promise<Place> {
    if (!isOfCluster(await server.atMark(requireServer, until))) return server
    const cluster = await openCluster(seeds, settings, until)
    await server.close()
    return cluster
  }

  return {
    found: () => place,
    // Of a cluster, the connection to that server has been closed.
    askSeed: (work, until) => (place ?? server).atMark(work, until),
    async find(until) {
      if (closed) throw new StoreError('unreachable', `session-lock: the store ${seed.name} is closed`)
      finding ??= search(until).finally(() => {
        finding = undefined
      })
      const limit = startLimit(until - performance.now(), () => {
        return new StoreError('unreachable', `session-lock: ${seed.name} did not answer in time`)
      })
      try {
        return await Promise.race([limit.passed, finding])
      } finally {
        limit.stop()
      }
    },
    async close() {
      closed = true
      await Promise.all([server.close(), place?.close()])
    },
  }
}
