/** Traces and metrics for OpenTelemetry, by `@opentelemetry/api`. */
import {
  type Attributes,
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
import type { DeliveryOutcome, HandlerResult, Hold } from '../engine/delivery.ts'
import { OptionsError } from '../engine/errors.ts'
import { listenTo } from '../engine/events.ts'
import { engineOf, type SessionLock } from '../engine/lock.ts'

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
 * `session-lock handle` around each handler, which is the parent of whatever the handler does, and the metrics that
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
  const engine = engineOf(lock)
  if (!engine) throw new OptionsError('lock', 'takes a lock made by createSessionLock()')
  const tracer = (options.tracerProvider ?? trace.getTracerProvider()).getTracer(NAME)
  const hold = (provider: string, held: Hold) => tracedHold(tracer, provider, held)
  engine.tracing = {
    hold,
    claim: (provider, run) =>
      tracer.startActiveSpan('session-lock claim', { attributes: { 'session_lock.provider': provider } }, (span) =>
        endWith(span, run).then((outcome) =>
          outcome.outcome === 'acquired' ? { ...outcome, hold: hold(provider, outcome.hold) } : outcome,
        ),
      ),
  }
  const stopCounting = count(lock, (options.meterProvider ?? metrics).getMeter(NAME))
  return () => {
    engine.tracing = undefined
    stopCounting()
  }
}

async function endWith(span: Span, run: () => Promise<DeliveryOutcome>): Promise<DeliveryOutcome> {
  try {
    const outcome = await run()
    span.setAttribute('session_lock.outcome', outcomeName(outcome))
    return outcome
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

/** A child of whatever the request's span is. The handler's own spans are children of it. */
function tracedHold(tracer: Tracer, provider: string, hold: Hold): Hold {
  const attributes: Attributes = {
    'session_lock.provider': provider,
    'session_lock.fencing_token': hold.fencingToken,
    'session_lock.takeover': hold.leases.some(({ takeover }) => takeover),
    'session_lock.messages': hold.fresh.length,
  }
  const span = tracer.startSpan('session-lock handle', { attributes })
  const around = trace.setSpan(context.active(), span)
  let isEnded = false
  const end = (result: HandlerResult): void => {
    if (isEnded) return
    isEnded = true
    if (hold.signal.aborted) span.addEvent('lease lost')
    if (result.status === 'failed') fail(span, result.error)
    span.end()
  }
  return {
    leases: hold.leases,
    fresh: hold.fresh,
    duplicates: hold.duplicates,
    withheld: hold.withheld,
    signal: hold.signal,
    fencingToken: hold.fencingToken,
    get rolledBack() {
      return hold.rolledBack
    },
    within: (work) => hold.within(() => context.with(around, work)),
    settle(result) {
      end(result)
      return hold.settle(result)
    },
    end(result) {
      end(result)
      hold.end(result)
    },
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
  return listenTo(lock, {
    acquired({ provider, waitedMs }) {
      claims.add(1, { outcome: 'acquired', provider })
      wait.record(waitedMs / 1000)
    },
    duplicate: ({ provider, of }) => claims.add(1, { outcome: of === 'completed' ? 'duplicate' : of, provider }),
    busy: ({ provider }) => claims.add(1, { outcome: 'busy', provider }),
    takeover: () => takeovers.add(1),
    released({ provider, heldMs }) {
      handled.add(1, { result: 'completed', provider })
      hold.record(heldMs / 1000)
    },
    failed({ provider, heldMs }) {
      handled.add(1, { result: 'failed', provider })
      hold.record(heldMs / 1000)
    },
    lease_lost: ({ loss }) => lost.add(1, { loss }),
    store_error: ({ kind }) => storeErrors.add(1, { kind }),
    store_call: ({ call, tookMs }) => calls.record(tookMs / 1000, { call }),
  })
}
