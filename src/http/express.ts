/** The middleware for Express 4 and 5, and for whatever calls its middleware as they do. */
import type { ServerResponse } from 'node:http'
// biome-ignore lint/suspicious/noTsIgnore: nothing is wrong where Express is there, as it is here
/** @ts-ignore Where Express's types are absent, these are `any`, and nothing else changes. */
import type { Request as ExpressRequest, Response as ExpressResponse, NextFunction } from 'express'
import type { Delivery, DeliveryOutcome, Hold } from '../engine/delivery.ts'
import { KeyError } from '../engine/errors.ts'
import { createSessionLock, type SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { type BodyReader, createBodyReader } from './body.ts'
import { type Answer, duplicateAnswer, refuse, refuseError } from './decision.ts'
import { type HandlerRun, watchHandler } from './finish.ts'
import { forceAnswer } from './force.ts'
import { deliveryFrom, type NextLike, type RequestLike, type RequestLock, send } from './messages.ts'
import { createReceiver, type Receiver } from './receive.ts'

export { keepRawBody } from './body.ts'
export { whatsappHandshake } from './handshake.ts'
export type { NextLike, RequestLike, RequestLock } from './messages.ts'

declare global {
  namespace Express {
    interface Request {
      /** Set while this request's messages are held; undefined where it is no delivery. */
      sessionLock?: RequestLock
    }
  }
}

/** The part of a lock that the middleware uses. */
export type ClaimingLock = Pick<SessionLock, 'claim' | 'options' | 'log'>

/** The middleware, with the lock that it uses: close it when the server closes. */
export interface SessionLockMiddleware<Lock extends ClaimingLock = SessionLock> {
  (request: RequestLike, response: ServerResponse, next: NextLike): void
  readonly lock: Lock
}

/** Two routes with `sessionLock()` must exclude each other, so they share it. */
let defaultLock: SessionLock | undefined

/**
 * Middleware that lets every message through to the handlers behind it once, and one message of a
 * session at a time. It reads JSON and form bodies where nobody has; whatever is no POST, or holds no
 * message, passes untouched.
 *
 * @param lockOrOptions a lock, to share it; or options for a new one; or nothing, for the one that all
 * calls without arguments share (store from `SESSION_LOCK_URL`)
 * @throws OptionsError naming the option that is unknown or impossible
 * @example
 * app.use('/webhook', sessionLock({ store: 'sqlite:./bot.db', secret: process.env.APP_SECRET }))
 * app.post('/webhook', async (req, res) => { await reply(req.body); res.sendStatus(200) })
 */
export function sessionLock<Lock extends ClaimingLock>(lockOrOptions: Lock): SessionLockMiddleware<Lock>
export function sessionLock(lockOrOptions?: SessionLockOptions): SessionLockMiddleware
export function sessionLock(lockOrOptions?: ClaimingLock | SessionLockOptions): SessionLockMiddleware<ClaimingLock> {
  const lock = lockFor(lockOrOptions)
  const claim = createClaimer(lock)
  const middleware = (request: RequestLike, response: ServerResponse, next: NextLike): void => {
    if (runs.has(request) || request.method !== 'POST') {
      next()
      return
    }
    claim(request, response).then((claimed) => {
      if (claimed === 'untouched') next()
      else if (claimed !== 'answered') claimed.hold.within(() => next())
    }, next)
  }
  return Object.assign(middleware, { lock })
}

/**
 * Wraps one handler. Its messages are settled when its promise has settled and the response has ended;
 * a throw fails them and goes on to Express's error handlers.
 *
 * @example
 * app.post('/webhook', withSessionLock(lock, async (req, res) => { await reply(req.body); res.sendStatus(200) }))
 */
export function withSessionLock<
  Request extends RequestLike = ExpressRequest,
  Response extends ServerResponse = ExpressResponse,
  Next extends NextLike = NextFunction,
>(
  lock: ClaimingLock,
  handler: (request: Request, response: Response, next: Next) => unknown,
): (request: Request, response: Response, next: Next) => void {
  const claim = createClaimer(lock)
  return (request, response, next) => {
    const handle = (run: HandlerRun | undefined): void => {
      const handled = (async () => handler(request, response, next))()
      run?.follow(handled)
      handled.then(undefined, next)
    }
    const run = runs.get(request)
    if (run || request.method !== 'POST') {
      handle(run)
      return
    }
    claim(request, response).then((claimed) => {
      if (claimed === 'untouched') handle(undefined)
      else if (claimed !== 'answered') claimed.hold.within(() => handle(claimed.run))
    }, next)
  }
}

/** Requests whose messages are held: by whichever mount came first. */
const runs = new WeakMap<object, HandlerRun>()

/** `untouched`: for the handlers as it came. `answered`: not for the handlers. */
type Claimed = 'untouched' | 'answered' | { readonly hold: Hold; readonly run: HandlerRun }

type Claimer = (request: RequestLike, response: ServerResponse) => Promise<Claimed>

function createClaimer(lock: ClaimingLock): Claimer {
  const readBody: BodyReader = createBodyReader(lock.options.bodyLimitBytes)
  const receive: Receiver = createReceiver(lock.options, lock.log)

  return async (request, response) => {
    const read = await readBody(request, response)
    if ('refusal' in read) return refused(read.refusal, 'failed to read the body', read.cause)
    const received = receive(deliveryFrom(request, read.body))
    if (received.outcome === 'untouched') return 'untouched'
    if (received.outcome === 'unsigned') {
      return refused(refuse('invalid-signature'), `failed to verify the signature of a ${received.provider} delivery`)
    }
    const { delivery, reduce } = received
    const outcome = await claimed(delivery)
    if ('refusal' in outcome) return refused(outcome.refusal)
    if (outcome.outcome === 'unkeyed') return 'untouched'
    if (outcome.outcome !== 'acquired') return answer(request, response, outcome)
    const { hold } = outcome
    if (reduce && hold.fresh.length < delivery.messages.length) reduceBody(request, read.body, reduce, hold)
    return { hold, run: enter(lock, request, response, delivery, hold) }

    function refused(refusal: Answer, what?: string, error?: unknown): 'answered' {
      if (what) lock.log.warn({ status: refusal.status, ...(error ? { reason: typeOf(error) } : {}) }, what)
      send(response, refusal)
      return 'answered'
    }
  }

  async function claimed(delivery: Delivery): Promise<DeliveryOutcome | { refusal: Answer }> {
    try {
      return await lock.claim(delivery)
    } catch (error) {
      const refusal = refuseError(error)
      if (!refusal) throw error
      if (error instanceof KeyError)
        lock.log.error({ err: error, provider: delivery.provider }, 'failed to key a delivery')
      return { refusal }
    }
  }

  async function answer(
    request: RequestLike,
    response: ServerResponse,
    outcome: Exclude<DeliveryOutcome, { outcome: 'acquired' | 'unkeyed' }>,
  ): Promise<'answered'> {
    const { onDuplicate, onBusy } = lock.options
    if (outcome.outcome === 'busy') {
      await onBusy?.(request, response, { of: 'busy', retryAfterMs: outcome.retryAfterMs })
      send(response, refuse('busy', outcome))
    } else if (outcome.of === 'completed') {
      await onDuplicate?.(request, response, { of: 'completed' })
      send(response, duplicateAnswer)
    } else send(response, refuse('in-flight', outcome))
    return 'answered'
  }
}

/** Everything that stands ready when the handler starts. */
function enter(
  lock: ClaimingLock,
  request: RequestLike,
  response: ServerResponse,
  delivery: Delivery,
  hold: Hold,
): HandlerRun {
  const { staleAfterMs, isSuccess } = lock.options
  const { withheld } = hold
  const forced = withheld && refuse(withheld.reason === 'busy' ? 'busy' : 'in-flight', withheld)
  const hasBegun = forced ? { hasBegun: forceAnswer(response, forced) } : {}
  const run = watchHandler(response, { hold, staleAfterMs, isSuccess, log: lock.log, ...hasBegun })
  const at = (positions: readonly number[]) => positions.flatMap((position) => delivery.messages[position] ?? [])
  runs.set(request, run)
  request.sessionLock = {
    provider: delivery.provider,
    messages: at(hold.fresh),
    duplicates: at(hold.duplicates),
    leases: hold.leases,
    fencingToken: hold.fencingToken,
    get signal() {
      return hold.signal
    },
    waitUntil: run.waitUntil,
    fail: run.fail,
  }
  return run
}

/** A new body in place of the old, which may be somebody else's too; text stays text, bytes stay bytes. */
function reduceBody(request: RequestLike, parsed: unknown, reduce: NonNullable<ReduceBody>, hold: Hold): void {
  const reduced = reduce(parsed, new Set(hold.fresh))
  if (typeof request.body === 'string') request.body = JSON.stringify(reduced)
  else if (request.body instanceof Uint8Array) request.body = Buffer.from(JSON.stringify(reduced))
  else request.body = reduced
}

type ReduceBody = Extract<ReturnType<Receiver>, { outcome: 'delivery' }>['reduce']

function lockFor(lockOrOptions: ClaimingLock | SessionLockOptions | undefined): ClaimingLock {
  if (lockOrOptions === undefined) {
    defaultLock ??= createSessionLock()
    return defaultLock
  }
  return 'claim' in lockOrOptions ? lockOrOptions : createSessionLock(lockOrOptions)
}

/** What a body parser calls its error; its message would quote the body. */
function typeOf(error: unknown): unknown {
  return (error as { type?: unknown }).type
}
