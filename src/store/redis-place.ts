/** Where the store's keys are: on one server, or spread over a cluster. */
import { type Buckets, oneBucket } from './redis-buckets.ts'
import { createLink, type Listener, listenTo, type Send, type Source } from './redis-connection.ts'
import { type Run, runOn, type ScriptName, type Scripts } from './redis-scripts.ts'
import { StoreError } from './store.ts'

/** What a call is for. Each has connections of its own, so that leases live while claims hang. */
export type Purpose = 'asking' | 'holding'

/** The way to the keys. Times (`until`) are the process's own clock's. */
export interface Place {
  /** Asks the server that has the mark of the layout. */
  atMark<Value>(work: (send: Send) => Promise<Value>, until: number): Promise<Value>
  /** The buckets for one call. */
  call<Value>(purpose: Purpose, until: number, work: (buckets: Buckets) => Promise<Value>): Promise<Value>
  /** Calls back with each row that is said to be free. */
  listen(released: (rowKey: string) => void): Listener
  close(): Promise<void>
}

/** What a place is made of. */
export interface PlaceSettings {
  readonly scripts: Scripts
  /** What stands before every key. */
  readonly prefix: string
  readonly timeoutMs: number
  readonly waitReplicas: number
  readonly waitMs: number
}

/** A single server, or one behind Sentinel. It connects when it is first asked. */
export function serverPlace(source: Source, settings: PlaceSettings): Place {
  const { scripts, prefix, timeoutMs } = settings
  const links = { asking: createLink(source, timeoutMs), holding: createLink(source, timeoutMs) }
  return {
    atMark: (work, until) => links.asking.run(work, until - performance.now()),
    call: (purpose, until, work) =>
      links[purpose].run(
        (send) => work(oneBucket(durably(runOn(send, scripts, prefix), send, source, settings))),
        until - performance.now(),
      ),
    listen: (released) => listenTo(() => source, [releasedChannel(prefix)], released),
    async close() {
      await Promise.all([links.asking.close(), links.holding.close()])
    },
  }
}

/** Where rows are told of that somebody waited for. */
export function releasedChannel(prefix: string): string {
  return `${prefix}released`
}

/** Those that replicas are waited for. */
const WRITES: ReadonlySet<ScriptName> = new Set(['claim', 'renew', 'settle', 'release'])

/**
 * What the script wrote counts once enough replicas have it: else what a master acknowledged goes with it, where a
 * replica that has not got it takes its place.
 */
export function durably(
  run: Run,
  send: Send,
  { name }: Source,
  { waitReplicas, waitMs }: Pick<PlaceSettings, 'waitReplicas' | 'waitMs'>,
): Run {
  if (waitReplicas === 0) return run
  return async (script, values, bytes) => {
    const reply = await run(script, values, bytes)
    if (!WRITES.has(script)) return reply
    const reached = Number(await send('WAIT', [waitReplicas, Math.max(1, waitMs)]))
    if (reached >= waitReplicas) return reply
    throw new StoreError(
      'unreachable',
      `session-lock: ${name} has the write, but ${reached} of ${waitReplicas} replicas got it within ${waitMs} ms`,
      { answerLost: true },
    )
  }
}
