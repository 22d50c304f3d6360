/** The store on Redis 6.2+ and Valkey: one server, one behind Sentinel, or a cluster, by URL or like the user's own ioredis client. */

import { requireTablePrefix } from './migrate.ts'
import type { Buckets } from './redis-buckets.ts'
import { claimBatch, look } from './redis-claim.ts'
import { claimSpread, lookSpread } from './redis-claim-spread.ts'
import type { RedisClient } from './redis-client.ts'
import { clientSource, clusterSources, type Listener, type Source, urlSource } from './redis-connection.ts'
import { examine } from './redis-examine.ts'
import { createFinder } from './redis-finder.ts'
import { cleanUp, countRows, listMessages, listSessions } from './redis-inspect.ts'
import type { PlaceSettings, Purpose } from './redis-place.ts'
import { migrateKeys, requireLayout } from './redis-prepare.ts'
import { type Run, readScripts } from './redis-scripts.ts'
import { renewBatch, settleBatch } from './redis-settle.ts'
import { releaseSpread, renewSpread, settleSpread } from './redis-settle-spread.ts'
import { type Store, StoreError, type StoreSettings } from './store.ts'
import { readStoreUrl } from './store-url.ts'

export type { RedisClient } from './redis-client.ts'

/** What the Redis store can be opened with. */
export interface RedisSettings extends StoreSettings {
  /** How many replicas must have a claim, renewal or settlement before it counts. 0 unless set, or `?waitReplicas=1` in the URL. */
  readonly waitReplicas?: number
  /** For how long they are waited for. 50 unless set, or `?waitMs=50` in the URL. */
  readonly waitMs?: number
}

/**
 * Opens the store. It connects when it is first asked something, and again after a loss.
 *
 * It uses two connections, whatever the load: one for claims and looks inside, one for renewals, settlements,
 * forced releases and clean-up; on a cluster these two to each master; and one more to hear of released rows, once
 * somebody listens.
 *
 * @param source `redis://user:password@host:6379/0` (or `rediss://…` for TLS), for a cluster that of any of its
 * nodes; or a client of ioredis (`Redis` or `Cluster`): connections like its own are made, and it stays the
 * caller's to end.
 * @throws StoreError of kind `setup` for a wrong URL, an unusable table prefix or a missing driver; not where the
 * server is only down.
 * @example
 * const store = await redisStore('redis://localhost:6379', { tablePrefix: 'session_lock_', timeoutMs: 5000 })
 */
export async function redisStore(source: string | RedisClient, settings: RedisSettings): Promise<Store> {
  requireTablePrefix(settings.tablePrefix)
  const scripts = await readScripts()
  if (typeof source === 'string') {
    const { url, ...waiting } = readUrl(source)
    const seed = await urlSource(url)
    return storeOn([seed], false, { ...waiting, ...settings, scripts, prefix: settings.tablePrefix })
  }
  const isCluster = source.isCluster === true
  const seeds = isCluster ? await clusterSources(source) : [clientSource(source)]
  const prefix = `${seeds[0]?.keyPrefix ?? ''}${settings.tablePrefix}`
  return storeOn(seeds, isCluster, { waitReplicas: 0, waitMs: DEFAULT_WAIT_MS, ...settings, scripts, prefix })
}

const DEFAULT_WAIT_MS = 50

/** At its start a process is busy loading, and no lease runs out yet. */
const PREPARE_MS = 10_000

function readUrl(text: string): { url: URL; waitReplicas: number; waitMs: number } {
  const problem = "session-lock: the Redis store's URL must be like redis://user:password@host:6379/0"
  const url = readStoreUrl(text, problem)
  if (url.hostname === '') throw new StoreError('setup', `${problem}; it names no host`)
  if (!/^\/?\d*$/.test(url.pathname)) throw new StoreError('setup', `${problem}; its database is a number`)
  const numberOf = (name: string, otherwise: number) => {
    const value = url.searchParams.get(name) ?? String(otherwise)
    if (!/^\d{1,6}$/.test(value)) throw new StoreError('setup', `session-lock: ${name} in the URL takes a whole number`)
    url.searchParams.delete(name)
    return Number(value)
  }
  return { url, waitReplicas: numberOf('waitReplicas', 0), waitMs: numberOf('waitMs', DEFAULT_WAIT_MS) }
}

function storeOn(seeds: readonly Source[], isCluster: boolean, settings: PlaceSettings): Store {
  const { timeoutMs, prefix } = settings
  const finder = createFinder(seeds, isCluster, settings)
  let listener: Listener | undefined
  let isPrepared = false

  async function prepare<Value>(
    work: (...args: Parameters<typeof migrateKeys>) => Promise<Value>,
    limitMs: number,
  ): Promise<Value> {
    const until = performance.now() + limitMs
    const place = finder.found() ?? (await finder.find(until))
    const value = await place.atMark((send) => work(send, prefix), until)
    isPrepared = true
    return value
  }

  async function on<Value>(purpose: Purpose, work: (buckets: Buckets) => Promise<Value>): Promise<Value> {
    const until = performance.now() + timeoutMs
    const place = finder.found() ?? (await finder.find(until))
    if (!isPrepared) await place.atMark((send) => requireLayout(send, prefix), until)
    isPrepared = true
    return place.call(purpose, until, work)
  }

  return {
    name: seeds[0]?.name ?? 'redis:',
    singleProcess: false,
    migrate: () => prepare(migrateKeys, Math.max(PREPARE_MS, timeoutMs)),
    checkSchema: () => prepare(requireLayout, timeoutMs),
    claim: (claims) => on('asking', batchOr(claimBatch, claimSpread, claims)),
    look: (messages) => on('asking', batchOr(look, lookSpread, messages)),
    renew: (renewals) => on('holding', batchOr(renewBatch, renewSpread, renewals)),
    settle: (settlements) => on('holding', batchOr(settleBatch, settleSpread, settlements)),
    release: (rowKeys, how = {}) => on('holding', (buckets) => releaseSpread(buckets, rowKeys, how)),
    sessions: (filter) => on('asking', (buckets) => listSessions(buckets, filter)),
    messages: (filter) => on('asking', (buckets) => listMessages(buckets, filter)),
    stats: () => on('asking', countRows),
    cleanup: (options) => on('holding', (buckets) => cleanUp(buckets, options)),
    examine: () => finder.askSeed((send) => examine(send, prefix), performance.now() + timeoutMs),
    listen(released) {
      listener = finder.found()?.listen(released)
    },
    async close() {
      listener?.close()
      await finder.close()
    },
  }
}

/** On a single server one script takes the whole batch; on a cluster each item goes where it belongs. */
function batchOr<Item, Verdict>(
  batch: (run: Run, items: readonly Item[]) => Promise<Verdict[]>,
  spread: (buckets: Buckets, items: readonly Item[]) => Promise<Verdict[]>,
  items: readonly Item[],
): (buckets: Buckets) => Promise<Verdict[]> {
  return (buckets) => (buckets.count === 1 ? batch(buckets.in(0), items) : spread(buckets, items))
}
