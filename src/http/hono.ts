/** The middleware for Hono 4, on Node, Bun and whatever else has Node's modules. */
import type { Context, Next } from 'hono'
import type { SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { type ClaimingLock, createClaimer, isClaimable, lockFor, withLock } from './claim.ts'
import type { RequestLock } from './exchange.ts'
import { fetchExchange } from './fetch-exchange.ts'

export type { RequestLock } from './exchange.ts'

declare module 'hono' {
  interface ContextVariableMap {
    /** Set while this request's messages are held; undefined where it is no delivery. */
    sessionLock: RequestLock | undefined
  }
}

/** The middleware, with the lock that it uses: close it when the server closes. */
export interface HonoSessionLock<Lock extends ClaimingLock = SessionLock> {
  (context: Context, next: Next): Promise<Response | undefined>
  readonly lock: Lock
}

/**
 * Middleware for Hono: see `sessionLock` of the package's root. The handler reads the body as ever; what is
 * held is in `c.get('sessionLock')`. The hooks are given the context, and answer by returning a `Response`.
 *
 * @throws OptionsError naming the option that is unknown or impossible
 * @example
 * app.use('/webhook', sessionLock({ store: 'sqlite:./bot.db' }))
 * app.post('/webhook', async (c) => { await reply(await c.req.json()); return c.body(null, 200) })
 */
export function sessionLock<Lock extends ClaimingLock>(lockOrOptions: Lock): HonoSessionLock<Lock>
export function sessionLock(lockOrOptions?: SessionLockOptions): HonoSessionLock
export function sessionLock(lockOrOptions?: ClaimingLock | SessionLockOptions): HonoSessionLock<ClaimingLock> {
  const lock = lockFor(lockOrOptions)
  const claim = createClaimer(lock)
  const limitBytes = lock.options.bodyLimitBytes

  const middleware = async (context: Context, next: Next): Promise<Response | undefined> => {
    const { req } = context
    if (!isClaimable(lock, req.raw, req.method)) {
      await next()
      return undefined
    }
    const bytesRead = () => req.arrayBuffer()
    const exchange = fetchExchange(req.raw, { limitBytes, bytesRead, hookArguments: [context, undefined] })
    const claimed = await claim(exchange)
    if (claimed === 'answered') return exchange.answer
    if (claimed === 'untouched') {
      await next()
      return undefined
    }
    if (exchange.request !== req.raw) Object.assign(req, { raw: exchange.request, bodyCache: {} })
    context.set('sessionLock', exchange.lock)
    const answer = await exchange.handle(claimed, async () => {
      await next()
      // A throw does not come through `next()`: Hono's error handler has answered it.
      if (context.error) claimed.run.fail(context.error)
      return context.res
    })
    // Or the old one's headers would be written over those of a forced answer.
    context.res = undefined
    context.res = answer
    return undefined
  }
  return withLock(middleware, lock)
}
