/** The store on Redis 6.2+ and Valkey (a single server, or one behind Sentinel), by URL or like the user's own ioredis client. */
import { requireTablePrefix } from './migrate.ts'
import { claimBatch, look } from './redis-claim.ts'
import type { RedisClient } from './redis-client.ts'
import {
  clientSource,
  createLink,
  type Link,
  type Listener,
  listenTo,
  type Send,
  type Source,
  urlSource,
} from './redis-connection.ts'
import { cleanUp, countRows, listMessages, listSessions } from './redis-inspect.ts'
import { migrateKeys, requirePrepared } from './redis-prepare.ts'
import { type Run, readScripts, runOn, type Scripts } from './redis-scripts.ts'
import { releaseBatch, renewBatch, settleBatch } from './redis-settle.ts'
import { type Store, StoreError, type StoreSettings } from './store.ts'

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
 * forced releases and clean-up; and a third to hear of released rows, once somebody listens.
 *
 * @param source `redis://user:password@host:6379/0` (or `rediss://…` for TLS), or a client of ioredis, which is
 * duplicated for these connections and stays the caller's to end.
 * @throws StoreError of kind `setup` for a wrong URL, an unusable table prefix, a missing driver or a cluster's
 * client; not where the server is only down.
 * @example
 * const store = await redisStore('redis://localhost:6379', { tablePrefix: 'session_lock_', timeoutMs: 5000 })
 */
export async function redisStore(source: string | RedisClient, settings: RedisSettings): Promise<Store> {
  requireTablePrefix(settings.tablePrefix)
  const scripts = await readScripts()
  if (typeof source === 'string') {
    const { url, ...waiting } = readUrl(source)
    return storeOn(await urlSource(url), scripts, { ...waiting, ...settings })
  }
  if ('isCluster' in source && source.isCluster === true) {
    throw new StoreError(
      'setup',
      'session-lock: a Redis Cluster is not supported. Give a client of a single server, or of one behind Sentinel',
    )
  }
  return storeOn(clientSource(source), scripts, { waitReplicas: 0, waitMs: DEFAULT_WAIT_MS, ...settings })
}

const DEFAULT_WAIT_MS = 50

/** At its start a process is busy loading, and no lease runs out yet. */
const PREPARE_MS = 10_000

function readUrl(text: string): { url: URL; waitReplicas: number; waitMs: number } {
  const problem = "session-lock: the Redis store's URL must be like redis://user:password@host:6379/0"
  if (!URL.canParse(text)) throw new StoreError('setup', problem)
  const url = new URL(text)
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

function storeOn(source: Source, scripts: Scripts, settings: Required<RedisSettings>): Store {
  const prefix = `${source.keyPrefix}${settings.tablePrefix}`
  const asking = createLink(source, settings.timeoutMs)
  const holding = createLink(source, settings.timeoutMs)
  let listener: Listener | undefined
  let isPrepared = false

  async function prepare<Value>(work: (send: Send, prefix: string) => Promise<Value>): Promise<Value> {
    const value = await asking.run((send) => work(send, prefix), Math.max(PREPARE_MS, settings.timeoutMs))
    isPrepared = true
    return value
  }

  function on<Value>(link: Link, work: (run: Run, send: Send) => Promise<Value>): Promise<Value> {
    return link.run(async (send) => {
      if (!isPrepared) await requirePrepared(send, prefix)
      isPrepared = true
      return work(runOn(send, scripts, prefix), send)
    })
  }

  function durably<Value>(link: Link, work: (run: Run) => Promise<Value>): Promise<Value> {
    return on(link, async (run, send) => {
      const value = await work(run)
      if (settings.waitReplicas > 0) await waitForReplicas(send, source, settings)
      return value
    })
  }

  return {
    name: source.name,
    singleProcess: false,
    migrate: () => prepare(migrateKeys),
    checkSchema: () => prepare(requirePrepared),
    claim: (claims) => durably(asking, (run) => claimBatch(run, claims)),
    look: (messages) => on(asking, (run) => look(run, messages.map(({ key }) => key))),
    renew: (renewals) => durably(holding, (run) => renewBatch(run, renewals)),
    settle: (settlements) => durably(holding, (run) => settleBatch(run, settlements)),
    release: (rowKeys) => durably(holding, (run) => releaseBatch(run, rowKeys)),
    sessions: (filter) => on(asking, (run, send) => listSessions(run, send, prefix, filter)),
    messages: (filter) => on(asking, (run) => listMessages(run, filter)),
    stats: () => on(asking, (run, send) => countRows(run, send, prefix)),
    cleanup: (options) => on(holding, (run) => cleanUp(run, options)),
    listen(released) {
      listener = listenTo(source, `${prefix}released`, released)
    },
    async close() {
      listener?.close()
      await Promise.all([asking.close(), holding.close()])
    },
  }
}

/** Else what a master acknowledged goes with it, where a replica that has not got it takes its place. */
async function waitForReplicas(
  send: Send,
  source: Source,
  { waitReplicas, waitMs }: Required<RedisSettings>,
): Promise<void> {
  const reached = Number(await send('WAIT', [waitReplicas, Math.max(1, waitMs)]))
  if (reached >= waitReplicas) return
  throw new StoreError(
    'unreachable',
    `session-lock: ${source.name} has the write, but ${reached} of ${waitReplicas} replicas got it within ${waitMs} ms`,
    { answerLost: true },
  )
}
