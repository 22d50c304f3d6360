/**
 * From a request to a handler that holds its messages, or to an answer of ours: the same steps in every
 * framework, over its {@link Exchange}.
 */
import type { Delivery, DeliveryOutcome, Hold } from '../engine/delivery.ts'
import { KeyError, OptionsError } from '../engine/errors.ts'
import { createLock, type SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { trackHandlers } from '../engine/running.ts'
import { waitFor } from './deadline.ts'
import { type Answer, duplicateAnswer, handshakeAnswer, refuse, refuseError } from './decision.ts'
import type { Exchange, ExchangeRead } from './exchange.ts'
import { type HandlerRun, watchHandler } from './finish.ts'
import { createReceiver, type ReceivedDelivery, type Receiver, takesMethod } from './receive.ts'
import { type ReplayPolicy, replayPolicy } from './replay-policy.ts'
import { createShown, runOf } from './shown.ts'

/** The part of a lock that the middleware uses. */
export type ClaimingLock = Pick<SessionLock, 'claim' | 'options' | 'log'>

/** `untouched`: for the handlers as it came. `answered`: not for the handlers. */
export type Claimed = 'untouched' | 'answered' | { readonly hold: Hold; readonly run: HandlerRun }

export type Claimer = (exchange: Exchange) => Promise<Claimed>

/** Is this a request that can bring messages, and not claimed yet? All others pass untouched. */
export function isClaimable({ options }: ClaimingLock, request: object, method: string | undefined): boolean {
  return method !== undefined && takesMethod(options, method) && runOf(request) === undefined
}

/** Two routes with `sessionLock()` must exclude each other, so they share it. */
let defaultLock: SessionLock | undefined

/** The lock that was given; a new one for options; for nothing, the one that all share. */
export function lockFor(lockOrOptions: ClaimingLock | SessionLockOptions | undefined): ClaimingLock {
  if (isLock(lockOrOptions)) return lockOrOptions
  if (lockOrOptions !== undefined) return openedLock(lockOrOptions)
  defaultLock ??= openedLock({})
  return defaultLock
}

/** Also asked of what is neither a lock nor options; the check of the options then says what is wrong. */
function isLock(given: unknown): given is ClaimingLock {
  return typeof given === 'object' && given !== null && 'claim' in given
}

/** @throws OptionsError where something else stands in the place of the lock, or of what is wrapped. */
export function requireWrapped(lock: unknown, name: 'handler' | 'listener', wrapped: unknown): void {
  if (!isLock(lock)) throw new OptionsError('lock', 'takes a lock: createSessionLock({ … })')
  if (typeof wrapped !== 'function') throw new OptionsError(name, 'takes a function')
}

/** Puts the lock on its middleware. Whoever takes it from there may claim with it, within a handler too. */
export function withLock<Middleware extends object, Lock extends ClaimingLock>(
  middleware: Middleware,
  lock: Lock,
): Middleware & { readonly lock: Lock } {
  Object.defineProperty(middleware, 'lock', {
    enumerable: true,
    get() {
      trackHandlers()
      return lock
    },
  })
  return middleware as Middleware & { readonly lock: Lock }
}

/** Opened at once: a wrong password is better seen in the log of the deploy than in that of the first message. */
function openedLock(options: SessionLockOptions): SessionLock {
  const lock = createLock(options)
  lock.ready().catch((error: unknown) => {
    lock.log.error({ err: error }, 'failed to open the store; every delivery is answered 503 until it can be opened')
  })
  return lock
}

const UNTOUCHED = Promise.resolve('untouched' as const)
const ANSWERED = Promise.resolve('answered' as const)

/** Makes what claims for one mount of the middleware. Throws an `OptionsError` for options that cannot work. */
export function createClaimer(lock: ClaimingLock): Claimer {
  const receive: Receiver = createReceiver(lock.options, lock.log)

  return (exchange) => {
    try {
      const reading = exchange.read()
      return reading instanceof Promise ? reading.then((read) => received(exchange, read)) : received(exchange, reading)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  function received(exchange: Exchange, read: ExchangeRead): Promise<Claimed> {
    if ('refusal' in read) return refuseWith(exchange, read.refusal, 'failed to read the body', read.cause)
    const { incoming } = read
    const told = receive(incoming)
    switch (told.outcome) {
      case 'untouched':
        return UNTOUCHED
      case 'handshake':
        exchange.send(handshakeAnswer(told.answer))
        return ANSWERED
      case 'unsigned': {
        const what = `failed to verify the signature of a ${told.provider} delivery`
        return refuseWith(exchange, refuse('invalid-signature'), what)
      }
      case 'unreadable':
        return refuseWith(exchange, refuse('invalid-key', told), `failed to read a ${told.provider} delivery`)
    }
    const policy = replayPolicy(lock.options, told.preset, incoming)
    return lock.claim(told.delivery, waitFor(told.preset, lock.options)).then(
      (outcome) => decided(exchange, told, outcome, incoming.body, policy),
      (error: unknown) => refuseWith(exchange, refusalOf(error, told.delivery)),
    )
  }

  function refuseWith(exchange: Exchange, refusal: Answer, what?: string, error?: unknown): Promise<'answered'> {
    if (what) lock.log.warn({ status: refusal.status, ...(error ? { reason: typeOf(error) } : {}) }, what)
    exchange.send(refusal)
    return ANSWERED
  }

  function decided(
    exchange: Exchange,
    { delivery, reduce }: ReceivedDelivery,
    outcome: DeliveryOutcome,
    body: unknown,
    policy: ReplayPolicy,
  ): Claimed | Promise<Claimed> {
    if (outcome.outcome === 'unkeyed') return 'untouched'
    if (outcome.outcome !== 'acquired') return answer(exchange, outcome, policy)
    const { hold } = outcome
    try {
      if (reduce && hold.fresh.length < delivery.messages.length) {
        exchange.replaceBody(reduce(body, new Set(hold.fresh)))
      }
      return { hold, run: enter(lock, exchange, delivery, hold, policy) }
    } catch (error) {
      // A body that cannot be written down again, say: nobody will handle it, so nobody would let go of the session.
      hold.end({ status: 'failed', error })
      throw error
    }
  }

  /** The answer in place of an outcome, for errors that have one. */
  function refusalOf(error: unknown, { provider }: Delivery): Answer {
    const refusal = refuseError(error)
    if (!refusal) throw error
    if (error instanceof KeyError) lock.log.error({ err: error, provider }, 'failed to key a delivery')
    return refusal
  }

  async function answer(
    exchange: Exchange,
    outcome: Exclude<DeliveryOutcome, { outcome: 'acquired' | 'unkeyed' }>,
    policy: ReplayPolicy,
  ): Promise<'answered'> {
    const { onDuplicate, onBusy } = lock.options
    if (outcome.outcome === 'busy') {
      const info = { of: 'busy', retryAfterMs: outcome.retryAfterMs } as const
      exchange.send(refuse('busy', outcome), await onBusy?.(...exchange.hookArguments, info))
    } else if (outcome.of === 'completed') {
      const stored = policy.answerTo(outcome.response)
      if (stored) exchange.send(stored)
      else exchange.send(duplicateAnswer, await onDuplicate?.(...exchange.hookArguments, { of: 'completed' }))
    } else exchange.send(refuse('in-flight', outcome))
    return 'answered'
  }
}

/** Everything that stands ready when the handler starts. */
function enter(
  lock: ClaimingLock,
  exchange: Exchange,
  delivery: Delivery,
  hold: Hold,
  policy: ReplayPolicy,
): HandlerRun {
  const { staleAfterMs, isSuccess } = lock.options
  const { withheld } = hold
  // A refusal loses nothing, whatever becomes of the transaction.
  const isHeldBack = lock.options.strategy === 'transaction' && !withheld
  if (withheld) exchange.force(refuse(withheld.reason === 'busy' ? 'busy' : 'in-flight', withheld))
  if (isHeldBack) exchange.holdBack()
  if (policy.captures) exchange.capture()
  const { toStore } = policy
  const run = watchHandler(exchange, { hold, staleAfterMs, isSuccess, log: lock.log, isHeldBack, toStore })
  exchange.show(createShown(exchange.request, delivery, hold, run))
  return run
}

/** What a body parser calls its error; its message would quote the body. */
function typeOf(error: unknown): unknown {
  return (error as { type?: unknown }).type
}
