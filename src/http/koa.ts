/** The middleware for Koa 3. */
import type { ServerResponse } from 'node:http'
import type { SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { createBodyReader } from './body.ts'
import { type ClaimingLock, createClaimer, isClaimable, lockFor } from './claim.ts'
import type { Exchange, RequestLock } from './exchange.ts'
import { nodeExchange, type RequestLike } from './node-exchange.ts'

export type { RequestLock } from './exchange.ts'

/** The part of Koa's context that is used. */
export interface KoaContextLike {
  readonly req: RequestLike
  readonly res: ServerResponse
  readonly request: { body?: unknown; rawBody?: unknown }
  readonly originalUrl: string
  state: { sessionLock?: RequestLock }
  sessionLock?: RequestLock
  status: number
  body?: unknown
  respond?: boolean
}

/** The middleware, with the lock that it uses: close it when the server closes. */
export interface KoaSessionLock<Lock extends ClaimingLock = SessionLock> {
  (context: KoaContextLike, next: () => Promise<unknown>): Promise<void>
  readonly lock: Lock
}

/**
 * Middleware for Koa: see `sessionLock` of the package's root. The body is in `ctx.request.body`, what is
 * held in `ctx.sessionLock` and `ctx.state.sessionLock`. The hooks are given the context twice, and answer
 * by setting its status or body.
 *
 * @throws OptionsError naming the option that is unknown or impossible
 * @example
 * app.use(sessionLock({ store: 'sqlite:./bot.db' }))
 * app.use(async (ctx) => { await reply(ctx.request.body); ctx.status = 200 })
 */
export function sessionLock<Lock extends ClaimingLock>(lockOrOptions: Lock): KoaSessionLock<Lock>
export function sessionLock(lockOrOptions?: SessionLockOptions): KoaSessionLock
export function sessionLock(lockOrOptions?: ClaimingLock | SessionLockOptions): KoaSessionLock<ClaimingLock> {
  const lock = lockFor(lockOrOptions)
  const claim = createClaimer(lock)
  const readBody = createBodyReader(lock.options.bodyLimitBytes)
  const middleware = async (context: KoaContextLike, next: () => Promise<unknown>): Promise<void> => {
    const claimed = isClaimable(lock, context.req, context.req.method)
      ? await claim(koaExchange(context, nodeExchange(context.req, context.res, readBody)))
      : 'untouched'
    if (claimed === 'answered') return
    if (claimed === 'untouched') {
      await next()
      return
    }
    const handled = claimed.hold.within(next)
    claimed.run.follow(handled)
    await handled
  }
  return Object.assign(middleware, { lock })
}

/** Koa keeps the parsed body on an object of its own, and answers last. */
function koaExchange(context: KoaContextLike, exchange: Exchange): Exchange {
  const { req, request, originalUrl } = context
  const before = { status: context.status, body: context.body }
  return {
    ...exchange,
    hookArguments: [context, context],
    read() {
      req.originalUrl ??= originalUrl
      req.body ??= request.body
      req.rawBody ??= request.rawBody
      return exchange.read().finally(() => {
        request.body = req.body
      })
    },
    replaceBody(reduced) {
      exchange.replaceBody(reduced)
      request.body = req.body
    },
    show(lock) {
      context.sessionLock = lock
      context.state.sessionLock = lock
    },
    send(answer) {
      if (context.status !== before.status || context.body !== before.body) return
      context.respond = false
      exchange.send(answer)
    },
  }
}
