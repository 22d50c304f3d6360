/**
 * A Redis Cluster: each script goes to the master of its bucket, or fails.
 *
 * The driver gives the connections. Its own Cluster is not used: it would follow ASK into a slot that moves, send
 * again what may have arrived, and part a script from its WAIT. A master that sends us on has done nothing (see
 * `common.lua`); so the map is read again, or a moment waited, and the script is sent again. While a slot moves, its
 * buckets serve nobody; nor do those of a master that is down, until a replica takes its place. The others go on.
 */
import { setTimeout as pause } from 'node:timers/promises'
import { BUCKETS, type Buckets, bucketOf, bucketPrefix } from './redis-buckets.ts'
import { createMap, MARK, type Master } from './redis-cluster-map.ts'
import { listenTo, type Send, type Source } from './redis-connection.ts'
import { elsewhere } from './redis-errors.ts'
import { durably, type Place, type PlaceSettings, type Purpose, releasedChannel } from './redis-place.ts'
import { requireServer } from './redis-prepare.ts'
import { type Run, runOn } from './redis-scripts.ts'
import { StoreError } from './store.ts'

/** How long is waited before what was sent on is sent again: not long, for the rest of its batch waits too. */
const PAUSES_MS = [10, 40, 120]
/** For so long after these waits were in vain nobody waits for the same bucket. */
const IN_VAIN_MS = 1000

/**
 * Opens a cluster, of which one of the `seeds` at least is a node. Rejects where none of them answers, or where a
 * master will not do. One that is down is no reason: its buckets fail until it is up, or has a successor.
 */
export async function openCluster(seeds: readonly Source[], settings: PlaceSettings, until: number): Promise<Place> {
  const { scripts, prefix } = settings
  const map = createMap(seeds, settings)
  await map.read(until)
  await Promise.all(map.masters().map((master) => requireMaster(master, until)))
  const hopelessUntil = new Map<number, number>()

  async function at<Value>(
    place: number,
    purpose: Purpose,
    until: number,
    work: (send: Send, source: Source) => Promise<Value>,
  ): Promise<Value> {
    for (let tries = 0; ; tries += 1) {
      const master = map.masterOf(place)
      try {
        if (master) return await master.run(purpose, until, (send) => work(send, master.source))
        throw new StoreError('unreachable', 'session-lock: no master of the cluster has the slot that is needed')
      } catch (error) {
        const why = master ? elsewhere(error) : 'MOVED'
        if (why === undefined || !canAsk(place, why, tries, until)) throw error
        const isMoving = why === 'ASK' || why === 'TRYAGAIN'
        const read = isMoving ? undefined : map.read(until, master).catch(() => undefined)
        await Promise.all([pause(PAUSES_MS[tries]), read])
      }
    }
  }

  /** Is it worth to wait, and ask again? */
  function canAsk(place: number, why: string, tries: number, until: number): boolean {
    const now = performance.now()
    if (why !== 'MOVED' && now < (hopelessUntil.get(place) ?? 0)) return false
    const pauseMs = PAUSES_MS[tries]
    if (pauseMs !== undefined && now + pauseMs < until) return true
    hopelessUntil.set(place, now + IN_VAIN_MS)
    return false
  }

  function runIn(bucket: number, purpose: Purpose, until: number): Run {
    const own = bucketPrefix(prefix, bucket)
    const declared = [`${own}absent1`, `${own}absent2`]
    return (script, values, bytes) =>
      at(bucket, purpose, until, (send, source) =>
        durably(runOn(send, scripts, own, declared), send, source, settings)(script, values, bytes),
      )
  }

  return {
    atMark: (work, until) => at(MARK, 'asking', until, work),
    call(purpose, until, work) {
      const buckets: Buckets = { count: BUCKETS, of: bucketOf, in: (bucket) => runIn(bucket, purpose, until) }
      return work(buckets)
    },
    listen(released) {
      const channels = Array.from({ length: BUCKETS }, (_, bucket) => releasedChannel(bucketPrefix(prefix, bucket)))
      return listenTo(() => anyOf(map.masters()) ?? (seeds[0] as Source), channels, released)
    },
    close: map.close,
  }
}

/** A node of the cluster that is not reached now is looked at by nobody: that costs less than not to start. */
async function requireMaster(master: Master, until: number): Promise<void> {
  try {
    await master.run('asking', until, requireServer)
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'setup') throw error
  }
}

function anyOf(masters: readonly Master[]): Source | undefined {
  return masters[Math.floor(Math.random() * masters.length)]?.source
}
