/** Metrics for Prometheus, by `prom-client`. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { LOSSES } from '../engine/errors.ts'
import { listenTo } from '../engine/events.ts'
import type { LockStats } from '../engine/inspection.ts'
import { requireEngine, type SessionLock } from '../engine/lock.ts'
import { within } from '../engine/port.ts'
import { STORE_ERROR_KINDS } from '../store/store.ts'
import { BATCH_ITEMS, CALL_SECONDS, HOLD_SECONDS, WAIT_SECONDS } from './buckets.ts'

/** Options of {@link collectMetrics}. */
export interface MetricsOptions {
  /** Where they are registered. Default: a registry of their own. */
  readonly registry?: Registry | undefined
  /** What their names start with. Default `session_lock_`. */
  readonly prefix?: string | undefined
  /**
   * What the store counts for all nodes (sessions, messages by status, the inbox) is asked for at most so often, in
   * milliseconds: counting a large table takes the database a while. Default 10 000. 0: at every scrape.
   */
  readonly storeEveryMs?: number | undefined
}

/** What {@link collectMetrics} gives. */
export interface Metrics {
  readonly registry: Registry
  /** For the header `Content-Type`. */
  readonly contentType: string
  /** All of it, as Prometheus reads it. Where the store cannot be asked, without what only it knows. */
  text(): Promise<string>
  /** Hears nothing more, and takes what is registered out of the registry. */
  stop(): void
}

const STORE_EVERY_MS = 10_000
/** Prometheus itself waits 10 s for all of it, unless told otherwise. */
const STORE_WITHIN_MS = 5000

/**
 * Counts what a lock does, from now on. No label names a prospect, a device or a message, so the number of series does
 * not grow with the traffic: it is about 130, and up to 6 more for each provider.
 *
 * Needs the package `prom-client`.
 *
 * @throws {@link OptionsError} where this is no lock of `createSessionLock`.
 * @example
 * const metrics = collectMetrics(lock)
 * app.get('/metrics', async (_request, response) => response.type(metrics.contentType).send(await metrics.text()))
 */
export function collectMetrics(lock: SessionLock, options: MetricsOptions = {}): Metrics {
  const { registry = new Registry(), prefix = 'session_lock_', storeEveryMs = STORE_EVERY_MS } = options
  const registers = [registry]
  const others = new Set(registry.getMetricsAsArray())
  const counter = <Label extends string>(name: string, help: string, labelNames: readonly Label[] = []) =>
    new Counter({ name: `${prefix}${name}`, help, labelNames, registers })
  const histogram = <Label extends string>(
    name: string,
    help: string,
    buckets: number[],
    labelNames: readonly Label[] = [],
  ) => new Histogram({ name: `${prefix}${name}`, help, buckets, labelNames, registers })

  const claims = counter('claims_total', 'Claims by what became of them.', ['outcome', 'provider'])
  const handled = counter('handled_total', 'Leases that ended with their messages handled or failed.', [
    'result',
    'provider',
  ])
  const takeovers = counter('takeovers_total', 'Stale leases taken over: their holder had crashed or hung.')
  const lost = counter('leases_lost_total', 'Leases lost by their holder, by why.', ['loss'])
  const unprotected = counter(
    'unprotected_total',
    'Deliveries handled without protection while the store was down (onStoreError: allow).',
  )
  const storeErrors = counter('store_errors_total', 'Failed calls of the store, by kind.', ['kind'])
  const wait = histogram('wait_seconds', 'From the arrival of a delivery to its lease.', WAIT_SECONDS)
  const hold = histogram('hold_seconds', 'How long a lease was held.', HOLD_SECONDS)
  const calls = histogram('store_call_seconds', 'How long calls of the store took.', CALL_SECONDS, ['call'])
  const batches = histogram('store_batch_items', 'How many operations one call of the store took along.', BATCH_ITEMS)
  // A series that begins with its first event hides that event from increase().
  for (const loss of LOSSES) lost.inc({ loss }, 0)
  for (const kind of [...STORE_ERROR_KINDS, 'unknown'] as const) storeErrors.inc({ kind }, 0)
  watchStore(lock, prefix, registry, storeEveryMs)
  const own = registry.getMetricsAsArray().filter((metric) => !others.has(metric))

  const stopMeter = requireEngine(lock).meters.add({
    claimed(outcome, provider, waitedMs) {
      claims.inc({ outcome, provider })
      if (outcome === 'acquired') wait.observe(waitedMs / 1000)
    },
    ended(result, provider, heldMs) {
      handled.inc({ result, provider })
      hold.observe(heldMs / 1000)
    },
    unprotected: () => unprotected.inc(),
  })
  const stopListening = listenTo(lock, {
    takeover: () => takeovers.inc(),
    lease_lost: ({ loss }) => lost.inc({ loss }),
    store_error: ({ kind }) => storeErrors.inc({ kind }),
    store_call({ call, items, tookMs }) {
      calls.observe({ call }, tookMs / 1000)
      batches.observe(items)
    },
  })
  return {
    registry,
    contentType: registry.contentType,
    text: () => registry.metrics(),
    stop() {
      stopMeter()
      stopListening()
      for (const { name } of own) registry.removeSingleMetric(name)
    },
  }
}

/** Gauges that are read when somebody scrapes. */
function watchStore(lock: SessionLock, prefix: string, registry: Registry, everyMs: number): void {
  const registers = [registry]
  const { port } = requireEngine(lock)
  let asked: Promise<LockStats | undefined> | undefined
  let askedAt = 0

  /** All gauges of one scrape are of one moment. */
  function stats(): Promise<LockStats | undefined> {
    if (asked) return asked
    askedAt = performance.now()
    const asking = ask()
    asked = asking
    void asking.then((found) => {
      const forget = () => {
        asked = undefined
      }
      if (found && everyMs > 0) setTimeout(forget, Math.max(0, everyMs - (performance.now() - askedAt))).unref()
      else forget()
    })
    return asking
  }

  async function ask(): Promise<LockStats | undefined> {
    let found: LockStats | undefined
    const asking = lock.stats().then(
      (stats) => {
        found = stats
      },
      () => undefined,
    )
    await within(port, STORE_WITHIN_MS, asking)
    return found
  }

  const own = (name: string, help: string, read: () => number) =>
    new Gauge({ name: `${prefix}${name}`, help, registers, collect: set((gauge) => gauge.set(read())) })
  const ofStore = <Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    put: (gauge: Gauge<Label>, found: LockStats) => void,
  ) =>
    new Gauge({
      name: `${prefix}${name}`,
      help,
      labelNames,
      registers,
      collect: set<Label>(async (gauge) => {
        const found = await stats()
        if (found) put(gauge, found)
        // What was so before, or nothing at all, would be told as what is so now.
        else if (labelNames.length === 0) gauge.remove()
        else gauge.reset()
      }),
    })

  own('leases_held', 'Deliveries whose handler runs on this node now.', () => lock.counts().holding)
  own('claims_waiting', 'Requests that wait on this node for their turn.', () => lock.counts().waiting)
  new Gauge({
    name: `${prefix}store_up`,
    help: 'Whether the store answered when it was last asked.',
    registers,
    collect: set(async (gauge) => gauge.set((await stats()) ? 1 : 0)),
  })
  ofStore('sessions', 'Sessions held on all nodes, as the store has them.', ['state'], (gauge, found) => {
    gauge.set({ state: 'live' }, found.sessions - found.staleSessions)
    gauge.set({ state: 'stale' }, found.staleSessions)
  })
  ofStore('messages', 'Messages that are remembered, by status.', ['status'], (gauge, found) => {
    for (const [status, count] of Object.entries(found.messages)) gauge.set({ status }, count)
  })
  ofStore('inbox_messages', 'Messages that wait in the inbox.', [], (gauge, { queue }) => {
    gauge.set(queue?.messages ?? 0)
  })
  ofStore('inbox_stopped_sessions', 'Sessions of the inbox stopped at a dead message.', [], (gauge, { queue }) => {
    gauge.set(queue?.stopped ?? 0)
  })
  ofStore('inbox_oldest_seconds', 'How long the oldest message in the inbox has waited.', [], (gauge, { queue }) => {
    gauge.set((queue?.oldestMs ?? 0) / 1000)
  })
}

/** What `prom-client` calls with the gauge as `this`. */
function set<Label extends string = string>(read: (gauge: Gauge<Label>) => void | Promise<void>) {
  return function collect(this: Gauge<Label>): void | Promise<void> {
    return read(this)
  }
}
