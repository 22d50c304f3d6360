/** The middleware for Telegraf 4. */
import type { ServerResponse } from 'node:http'
import type { SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { type ClaimingLock, lockFor, withLock } from '../http/claim.ts'
import { handleOnce } from './handle-once.ts'
import { RefusedError } from './refused.ts'
import { deliveryOfUpdate } from './telegram-update.ts'

export { RefusedError } from './refused.ts'

/** What of Telegraf's context is used. */
export interface TelegrafContext {
  readonly update: object
  readonly botInfo: { readonly id: number }
  readonly telegram: object
}

/** The middleware, with the lock that it uses: close it when the bot stops. */
export interface TelegrafMiddleware<Lock extends ClaimingLock = SessionLock> {
  (context: TelegrafContext, next: () => Promise<void>): Promise<void>
  readonly lock: Lock
}

/**
 * Middleware that lets every update through once, and one update of a chat at a time, across all processes
 * that share the store. Put it first. An update that is completed already goes no further.
 *
 * With webhooks, an update that is busy or in flight after `lockWaitMs` throws a {@link RefusedError}, and
 * whatever was thrown, the answer is no 2xx, so that Telegram delivers the update again. With long polling
 * nothing is delivered again that was fetched: set `lockWaitMs` above `staleAfterMs`, so that a bot that comes
 * back from a crash waits for what it left.
 *
 * @param lockOrOptions a lock, to share it; or options for a new one; or nothing, for the one that all calls
 * without arguments share (store from `SESSION_LOCK_URL`)
 * @throws OptionsError naming the option that is unknown or impossible
 * @example
 * const bot = new Telegraf(token)
 * bot.use(sessionLock({ store: 'sqlite:./bot.db' }))
 * bot.on('message', (ctx) => ctx.reply('once'))
 */
export function sessionLock<Lock extends ClaimingLock>(lockOrOptions: Lock): TelegrafMiddleware<Lock>
export function sessionLock(lockOrOptions?: SessionLockOptions): TelegrafMiddleware
export function sessionLock(lockOrOptions?: ClaimingLock | SessionLockOptions): TelegrafMiddleware<ClaimingLock> {
  const lock = lockFor(lockOrOptions)
  const middleware = async (context: TelegrafContext, next: () => Promise<void>): Promise<void> => {
    const { update, botInfo } = context
    try {
      await handleOnce(lock, { context, delivery: deliveryOfUpdate(update, botInfo.id), next })
    } catch (error) {
      answerWithError(context, error)
      throw error
    }
  }
  return withLock(middleware, lock)
}

/**
 * Telegraf ends the webhook's response whether the handlers threw or not, with whatever status stands in it.
 * Left at 200, an update that nobody handled would be taken for handled.
 */
function answerWithError({ telegram }: TelegrafContext, error: unknown): void {
  const { response } = telegram as { readonly response?: ServerResponse }
  if (!response || response.headersSent) return
  response.statusCode = error instanceof RefusedError ? error.status : 500
}
