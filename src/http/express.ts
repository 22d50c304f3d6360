/** The middleware for Express 4 and 5, and for whatever calls its middleware as they do. */
import type { ServerResponse } from 'node:http'
// biome-ignore lint/suspicious/noTsIgnore: nothing is wrong where Express is there, as it is here
/** @ts-ignore Where Express's types are absent, these are `any`, and nothing else changes. */
import type { Request as ExpressRequest, Response as ExpressResponse, NextFunction } from 'express'
import type { SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { createBodyReader } from './body.ts'
import {
  type Claimed,
  type ClaimingLock,
  createClaimer,
  isClaimable,
  lockFor,
  requireWrapped,
  withLock,
} from './claim.ts'
import type { RequestLock } from './exchange.ts'
import type { HandlerRun } from './finish.ts'
import { type NextLike, NodeExchange, type RequestLike } from './node-exchange.ts'
import { runOf } from './shown.ts'

export { keepRawBody } from './body.ts'
export type { ClaimingLock } from './claim.ts'
export type { RequestLock } from './exchange.ts'
export { whatsappHandshake } from './handshake.ts'
export type { NextLike, RequestLike } from './node-exchange.ts'

declare global {
  namespace Express {
    interface Request {
      /** Set while this request's messages are held; undefined where it is no delivery. */
      sessionLock?: RequestLock
    }
  }
}

/** The middleware, with the lock that it uses: close it when the server closes. */
export interface SessionLockMiddleware<Lock extends ClaimingLock = SessionLock> {
  (request: RequestLike, response: ServerResponse, next: NextLike): void
  readonly lock: Lock
}

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
  const claim = createNodeClaimer(lock)
  const middleware = (request: RequestLike, response: ServerResponse, next: NextLike): void => {
    if (!isClaimable(lock, request, request.method)) {
      next()
      return
    }
    claim(request, response).then((claimed) => {
      if (claimed === 'untouched') next()
      else if (claimed !== 'answered') claimed.hold.within(() => next())
    }, next)
  }
  return withLock(middleware, lock)
}

/**
 * Wraps one handler. Its messages are settled when its promise has settled and the response has ended;
 * a throw fails them and goes on to Express's error handlers.
 *
 * @throws OptionsError where it is given something else than a lock and a function
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
  requireWrapped(lock, 'handler', handler)
  const claim = createNodeClaimer(lock)
  return (request, response, next) => {
    const handle = (run: HandlerRun | undefined): void => {
      const handled = (async () => handler(request, response, next))()
      run?.follow(handled)
      handled.then(undefined, next)
    }
    if (!isClaimable(lock, request, request.method)) {
      handle(runOf(request))
      return
    }
    claim(request, response).then((claimed) => {
      if (claimed === 'untouched') handle(undefined)
      else if (claimed !== 'answered') claimed.hold.within(() => handle(claimed.run))
    }, next)
  }
}

/** Claims for whatever has Node's own request and response. */
function createNodeClaimer(lock: ClaimingLock): (request: RequestLike, response: ServerResponse) => Promise<Claimed> {
  const claim = createClaimer(lock)
  const readBody = createBodyReader(lock.options.bodyLimitBytes)
  return (request, response) => claim(new NodeExchange(request, response, readBody))
}
