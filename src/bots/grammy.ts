/** The middleware for grammY. */
import type { SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { type ClaimingLock, lockFor, withLock } from '../http/claim.ts'
import { handleOnce } from './handle-once.ts'
import { deliveryOfUpdate } from './telegram-update.ts'

export { RefusedError } from './refused.ts'

/** What of grammY's context is used. */
export interface GrammyContext {
  readonly update: object
  readonly me: { readonly id: number }
}

/** The middleware, with the lock that it uses: close it when the bot stops. */
export interface GrammyMiddleware<Lock extends ClaimingLock = SessionLock> {
  (context: GrammyContext, next: () => Promise<void>): Promise<void>
  readonly lock: Lock
}

/**
 * Middleware that lets every update through once, and one update of a chat at a time, across all processes
 * that share the store. Put it first. An update that is completed already goes no further.
 *
 * With webhooks, an update that is busy or in flight after `lockWaitMs` throws a {@link RefusedError}: answer
 * with an error, and Telegram delivers it again. With long polling nothing is delivered again that was fetched:
 * set `lockWaitMs` above `staleAfterMs`, so that a bot that comes back from a crash waits for what it left.
 *
 * @param lockOrOptions a lock, to share it; or options for a new one; or nothing, for the one that all calls
 * without arguments share (store from `SESSION_LOCK_URL`)
 * @throws OptionsError naming the option that is unknown or impossible
 * @example
 * const bot = new Bot(token)
 * bot.use(sessionLock({ store: 'sqlite:./bot.db' }))
 * bot.on('message', (ctx) => ctx.reply('once'))
 */
export function sessionLock<Lock extends ClaimingLock>(lockOrOptions: Lock): GrammyMiddleware<Lock>
export function sessionLock(lockOrOptions?: SessionLockOptions): GrammyMiddleware
export function sessionLock(lockOrOptions?: ClaimingLock | SessionLockOptions): GrammyMiddleware<ClaimingLock> {
  const lock = lockFor(lockOrOptions)
  const middleware = async (context: GrammyContext, next: () => Promise<void>): Promise<void> => {
    await handleOnce(lock, { context, delivery: deliveryOfUpdate(context.update, context.me.id), next })
  }
  return withLock(middleware, lock)
}
