/** Traces and metrics for OpenTelemetry, by `@opentelemetry/api`. */
import {
  type Context,
  context,
  type Meter,
  type MeterProvider,
  metrics,
  type ObservableCallback,
  type Span,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api'
import type { DeliveryOutcome, HandlerResult, Hold, SettleResult } from '../engine/delivery.ts'
import { asError, LOSSES } from '../engine/errors.ts'
import { listenTo } from '../engine/events.ts'
import type { Lease } from '../engine/lease.ts'
import { requireEngine, type SessionLock } from '../engine/lock.ts'
import type { Port } from '../engine/port.ts'
import type { Tracing } from '../engine/tracing.ts'
import { STORE_ERROR_KINDS } from '../store/store.ts'
import { BATCH_ITEMS, CALL_SECONDS, HOLD_SECONDS, WAIT_SECONDS } from './buckets.ts'

/** Options of {@link instrument}. */
export interface InstrumentOptions {
  /** Default: the one that is registered globally. */
  readonly tracerProvider?: TracerProvider | undefined
  /** Default: the one that is registered globally. */
  readonly meterProvider?: MeterProvider | undefined
}

const NAME = 'session-lock'

/**
 * Traces a lock, from now on, and counts what it does: a span `session-lock` around each claim and its handler, the
 * parent of whatever the handler does; and the metrics that `collectMetrics` has too, without those that only the store
 * knows. The span's attributes: `session_lock.provider`, `outcome` (`acquired`, `duplicate`, `in_flight`, `busy`,
 * `unkeyed`), and of what was acquired `waited_ms`, `fencing_token`, `takeover` and `messages`. None names a prospect, a
 * device or a message.
 *
 * Needs the package `@opentelemetry/api`.
 *
 * @returns what ends it
 * @throws {@link OptionsError} where this is no lock of `createSessionLock`.
 * @example
 * const stop = instrument(lock)
 */
export function instrument(lock: SessionLock, options: InstrumentOptions = {}): () => void {
  const engine = requireEngine(lock)
  const tracer = (options.tracerProvider ?? trace.getTracerProvider()).getTracer(NAME)
  const tracing: Tracing = {
    hold: (provider, hold) => traceHold(tracer, provider, hold),
    claim: (provider, run) => traceClaim(engine.port, tracer, provider, run),
  }
  engine.tracing = tracing
  const stopCounting = count(lock, (options.meterProvider ?? metrics).getMeter(NAME))
  return () => {
    // Somebody else may trace it by now.
    if (engine.tracing === tracing) engine.tracing = undefined
    stopCounting()
  }
}

/** What is not sampled costs no more than finding that out. One span for both: a second one would double the cost. */
function traceClaim(
  port: Port,
  tracer: Tracer,
  provider: string,
  run: () => Promise<DeliveryOutcome>,
): Promise<DeliveryOutcome> {
  const around = context.active()
  const parent = trace.getSpan(around)
  if (parent && !isTraced(parent)) return run()
  const span = tracer.startSpan('session-lock', { attributes: { 'session_lock.provider': provider } }, around)
  if (!span.isRecording()) return run()
  const arrivedAt = port.now()
  return run().then(
    (outcome) => {
      span.setAttribute('session_lock.outcome', outcomeName(outcome))
      if (outcome.outcome === 'acquired') {
        span.setAttribute('session_lock.waited_ms', port.now() - arrivedAt)
        return { ...outcome, hold: new TracedHold(outcome.hold, span, around) }
      }
      span.end()
      return outcome
    },
    (error: unknown) => {
      fail(span, error)
      span.end()
      throw error
    },
  )
}

/** One of another process is recorded there, and never here. */
function isTraced(parent: Span): boolean {
  return parent.isRecording() || (parent.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0
}

function outcomeName(outcome: DeliveryOutcome): string {
  return outcome.outcome === 'duplicate' && outcome.of === 'in_flight' ? 'in_flight' : outcome.outcome
}

/** Of the inbox, which claims nothing. */
function traceHold(tracer: Tracer, provider: string, hold: Hold): Hold {
  const around = context.active()
  const attributes = { 'session_lock.provider': provider, 'session_lock.outcome': 'acquired' }
  const span = tracer.startSpan('session-lock', { attributes }, around)
  return span.isRecording() ? new TracedHold(hold, span, around) : hold
}

/** The handler's own spans are children of this one. A class, as every message has one. */
class TracedHold implements Hold {
  readonly #hold: Hold
  readonly #span: Span
  readonly #around: Context
  #isEnded = false

  constructor(hold: Hold, span: Span, around: Context) {
    this.#hold = hold
    this.#span = span
    this.#around = trace.setSpan(around, span)
    span.setAttribute('session_lock.fencing_token', hold.fencingToken)
    span.setAttribute('session_lock.takeover', hold.leases.some(isTakeover))
    span.setAttribute('session_lock.messages', hold.fresh.length)
  }

  get leases(): Hold['leases'] {
    return this.#hold.leases
  }
  get fresh(): Hold['fresh'] {
    return this.#hold.fresh
  }
  get duplicates(): Hold['duplicates'] {
    return this.#hold.duplicates
  }
  get withheld(): Hold['withheld'] {
    return this.#hold.withheld
  }
  /** Made when it is asked for, so not before. */
  get signal(): AbortSignal {
    return this.#hold.signal
  }
  get fencingToken(): number {
    return this.#hold.fencingToken
  }
  get rolledBack(): Error | undefined {
    return this.#hold.rolledBack
  }

  within<Result>(work: () => Result): Result {
    return this.#hold.within(() => context.with(this.#around, work))
  }

  async settle(result: HandlerResult): Promise<SettleResult> {
    const settled = await this.#hold.settle(result)
    const { rolledBack } = this.#hold
    this.#end(rolledBack ? { status: 'failed', error: rolledBack } : result)
    return settled
  }

  end(result: HandlerResult): void {
    this.#end(result)
    this.#hold.end(result)
  }

  #end(result: HandlerResult): void {
    if (this.#isEnded) return
    this.#isEnded = true
    if (result.status === 'failed') fail(this.#span, result.error)
    this.#span.end()
  }
}

function isTakeover({ takeover }: Lease): boolean {
  return takeover
}

function fail(span: Span, error: unknown): void {
  const shown = asError(error)
  span.recordException(shown)
  span.setStatus({ code: SpanStatusCode.ERROR, message: shown.message })
}

function count(lock: SessionLock, meter: Meter): () => void {
  const counter = (name: string, description: string) => meter.createCounter(`session_lock.${name}`, { description })
  const histogram = (name: string, description: string, explicitBucketBoundaries: number[], unit: string) =>
    meter.createHistogram(`session_lock.${name}`, { description, unit, advice: { explicitBucketBoundaries } })
  const claims = counter('claims', 'Claims by what became of them.')
  const handled = counter('handled', 'Leases that ended with their messages handled or failed.')
  const takeovers = counter('takeovers', 'Stale leases taken over: their holder had crashed or hung.')
  const lost = counter('leases_lost', 'Leases lost by their holder, by why.')
  const unprotected = counter('unprotected', 'Deliveries handled without protection while the store was down.')
  const storeErrors = counter('store_errors', 'Failed calls of the store, by kind.')
  for (const loss of LOSSES) lost.add(0, { loss })
  for (const kind of [...STORE_ERROR_KINDS, 'unknown'] as const) storeErrors.add(0, { kind })
  const wait = histogram('wait', 'From the arrival of a delivery to its lease.', WAIT_SECONDS, 's')
  const hold = histogram('hold', 'How long a lease was held.', HOLD_SECONDS, 's')
  const calls = histogram('store_call', 'How long calls of the store took.', CALL_SECONDS, 's')
  const batches = histogram(
    'store_batch',
    'How many operations one call of the store took along.',
    BATCH_ITEMS,
    '{item}',
  )
  const stopGauges = [
    gauge(meter, 'leases_held', 'Deliveries whose handler runs on this node now.', () => lock.counts().holding),
    gauge(meter, 'claims_waiting', 'Requests that wait on this node for their turn.', () => lock.counts().waiting),
  ]
  const stopMeter = requireEngine(lock).meters.add({
    claimed(outcome, provider, waitedMs) {
      claims.add(1, { outcome, provider })
      if (outcome === 'acquired') wait.record(waitedMs / 1000)
    },
    ended(result, provider, heldMs) {
      handled.add(1, { result, provider })
      hold.record(heldMs / 1000)
    },
    unprotected: () => unprotected.add(1),
  })
  const stopListening = listenTo(lock, {
    takeover: () => takeovers.add(1),
    lease_lost: ({ loss }) => lost.add(1, { loss }),
    store_error: ({ kind }) => storeErrors.add(1, { kind }),
    store_call({ call, items, tookMs }) {
      calls.record(tookMs / 1000, { call })
      batches.record(items)
    },
  })
  return () => {
    stopMeter()
    stopListening()
    for (const stop of stopGauges) stop()
  }
}

/** Read when it is collected, until it is stopped. */
function gauge(meter: Meter, name: string, description: string, read: () => number): () => void {
  const observable = meter.createObservableGauge(`session_lock.${name}`, { description })
  const observe: ObservableCallback = (result) => result.observe(read())
  observable.addCallback(observe)
  return () => observable.removeCallback(observe)
}
