/** Traces and metrics for OpenTelemetry, by `@opentelemetry/api`. */
import {
  type Attributes,
  type Context,
  context,
  type Meter,
  type MeterProvider,
  metrics,
  type Span,
  SpanStatusCode,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api'
import type { DeliveryOutcome, HandlerResult, Hold, SettleResult } from '../engine/delivery.ts'
import { listenTo } from '../engine/events.ts'
import { requireEngine, type SessionLock } from '../engine/lock.ts'

/** Options of {@link instrument}. */
export interface InstrumentOptions {
  /** Default: the one that is registered globally. */
  readonly tracerProvider?: TracerProvider | undefined
  /** Default: the one that is registered globally. */
  readonly meterProvider?: MeterProvider | undefined
}

const NAME = 'session-lock'

/**
 * Traces a lock, from now on, and counts what it does: a span `session-lock claim` around each claim, a span
 * `session-lock handle` around each handler, the parent of whatever the handler does, and the metrics that
 * `collectMetrics` has too, without those that only the store knows. No attribute names a prospect, a device or a
 * message.
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
  engine.tracing = {
    hold: (provider, held) => tracedHold(tracer, provider, held, context.active()),
    claim: (provider, run) => tracedClaim(tracer, provider, run),
  }
  const stopCounting = count(lock, (options.meterProvider ?? metrics).getMeter(NAME))
  return () => {
    engine.tracing = undefined
    stopCounting()
  }
}

/** What is not sampled costs no more than finding that out. */
function tracedClaim(tracer: Tracer, provider: string, run: () => Promise<DeliveryOutcome>): Promise<DeliveryOutcome> {
  const active = context.active()
  const parent = trace.getSpan(active)
  if (parent && !parent.isRecording()) return run()
  const span = tracer.startSpan('session-lock claim', { attributes: { 'session_lock.provider': provider } }, active)
  if (!span.isRecording()) return run()
  // Where the request has no span, its handler is below its claim, so that both are of one trace.
  const around = parent ? active : trace.setSpan(active, span)
  return endClaim(span, run, (hold) => tracedHold(tracer, provider, hold, around))
}

async function endClaim(
  span: Span,
  run: () => Promise<DeliveryOutcome>,
  traced: (hold: Hold) => Hold,
): Promise<DeliveryOutcome> {
  try {
    const outcome = await run()
    span.setAttribute('session_lock.outcome', outcomeName(outcome))
    return outcome.outcome === 'acquired' ? { ...outcome, hold: traced(outcome.hold) } : outcome
  } catch (error) {
    fail(span, error)
    throw error
  } finally {
    span.end()
  }
}

function outcomeName(outcome: DeliveryOutcome): string {
  return outcome.outcome === 'duplicate' && outcome.of === 'in_flight' ? 'in_flight' : outcome.outcome
}

function tracedHold(tracer: Tracer, provider: string, hold: Hold, around: Context): Hold {
  const attributes: Attributes = {
    'session_lock.provider': provider,
    'session_lock.fencing_token': hold.fencingToken,
    'session_lock.takeover': hold.leases.some(({ takeover }) => takeover),
    'session_lock.messages': hold.fresh.length,
  }
  const span = tracer.startSpan('session-lock handle', { attributes }, around)
  return span.isRecording() ? new TracedHold(hold, span, trace.setSpan(around, span)) : hold
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
    this.#around = around
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

  settle(result: HandlerResult): Promise<SettleResult> {
    this.#end(result)
    return this.#hold.settle(result)
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

function fail(span: Span, error: unknown): void {
  const shown = error instanceof Error ? error : new Error(String(error))
  span.recordException(shown)
  span.setStatus({ code: SpanStatusCode.ERROR, message: shown.message })
}

function count(lock: SessionLock, meter: Meter): () => void {
  const counter = (name: string, description: string) => meter.createCounter(`session_lock.${name}`, { description })
  const seconds = (name: string, description: string) =>
    meter.createHistogram(`session_lock.${name}`, { description, unit: 's' })
  const claims = counter('claims', 'Claims by what became of them.')
  const handled = counter('handled', 'Leases that ended with their messages handled or failed.')
  const takeovers = counter('takeovers', 'Stale leases taken over: their holder had crashed or hung.')
  const lost = counter('leases_lost', 'Leases lost by their holder, by why.')
  const storeErrors = counter('store_errors', 'Failed calls of the store, by kind.')
  const wait = seconds('wait', 'From the arrival of a delivery to its lease.')
  const hold = seconds('hold', 'How long a lease was held.')
  const calls = seconds('store_call', 'How long calls of the store took.')
  const stopMeter = requireEngine(lock).meters.add({
    claimed(outcome, provider, waitedMs) {
      claims.add(1, { outcome, provider })
      if (outcome === 'acquired') wait.record(waitedMs / 1000)
    },
    ended(result, provider, heldMs) {
      handled.add(1, { result, provider })
      hold.record(heldMs / 1000)
    },
  })
  const stopListening = listenTo(lock, {
    takeover: () => takeovers.add(1),
    lease_lost: ({ loss }) => lost.add(1, { loss }),
    store_error: ({ kind }) => storeErrors.add(1, { kind }),
    store_call: ({ call, tookMs }) => calls.record(tookMs / 1000, { call }),
  })
  return () => {
    stopMeter()
    stopListening()
  }
}
