/** The middleware for Slack's Bolt. */
import type { SessionLock, WaitOptions } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { type ClaimingLock, lockFor, withLock } from '../http/claim.ts'
import { waitFor } from '../http/deadline.ts'
import { handleOnce } from './handle-once.ts'
import { deliveryOfBody } from './slack-body.ts'

export { RefusedError } from './refused.ts'

/** What of the arguments of Bolt's middleware is used. */
export interface BoltArguments {
  readonly body: object
  readonly context: object
  readonly next: () => Promise<unknown>
  /** Absent for events, which Bolt acknowledges itself, before any middleware runs. */
  readonly ack?: unknown
  /** Set where Slack asks what a menu is to show. */
  readonly options?: unknown
}

/** The middleware, with the lock that it uses: close it when the app stops. */
export interface BoltMiddleware<Lock extends ClaimingLock = SessionLock> {
  (args: BoltArguments): Promise<void>
  readonly lock: Lock
}

/** How the Bolt app is set up. */
export interface BoltSettings {
  /**
   * The same as the app's own option; true for `AwsLambdaReceiver`, too. Default false: Bolt acknowledges an
   * event before anybody handles it, so Slack never delivers it again, and it waits for its turn as long as
   * it takes. true: Slack waits for the handler, and delivers again what was refused or failed.
   */
  readonly processBeforeResponse?: boolean
}

/** How long Slack waits for an answer. */
const DEADLINE_MS = 3000

/**
 * Global middleware that lets every delivery of Slack through once, and one of a conversation at a time (what one
 * person writes in one channel, and each thread), across all processes that share the store. Put it first.
 * A delivery that is completed already goes no further; menus that ask for their options pass untouched.
 *
 * @param lockOrOptions a lock, to share it; or options for a new one; or nothing, for the one that all calls
 * without arguments share (store from `SESSION_LOCK_URL`)
 * @throws OptionsError naming the option that is unknown or impossible
 * @example
 * const app = new App({ token, signingSecret, processBeforeResponse: true })
 * app.use(sessionLock({ store: 'sqlite:./bot.db' }, { processBeforeResponse: true }))
 * app.message(async ({ say }) => { await say('once') })
 */
export function sessionLock<Lock extends ClaimingLock>(
  lockOrOptions: Lock,
  settings?: BoltSettings,
): BoltMiddleware<Lock>
export function sessionLock(lockOrOptions?: SessionLockOptions, settings?: BoltSettings): BoltMiddleware
export function sessionLock(
  lockOrOptions?: ClaimingLock | SessionLockOptions,
  { processBeforeResponse = false }: BoltSettings = {},
): BoltMiddleware<ClaimingLock> {
  const lock = lockFor(lockOrOptions)
  const middleware = async ({ body, context, next, ack, options }: BoltArguments): Promise<void> => {
    if (options !== undefined) {
      await next()
      return
    }
    const isEvent = ack === undefined
    const wait = isEvent && !processBeforeResponse ? unhurried(lock) : hurried(lock, isEvent)
    const end = await handleOnce(lock, { context, delivery: deliveryOfBody(body), wait, next })
    if (end === 'handled') return
    logRetry(lock, context)
    if (typeof ack === 'function') await ack()
  }
  return withLock(middleware, lock)
}

/** Slack has its answer: nobody waits with us, and a refusal would lose the message. */
function unhurried({ options }: ClaimingLock): WaitOptions {
  return { lockWaitMs: options.maxHoldMs }
}

/** Slack waits with us. Of what it asks for it redelivers events only. */
function hurried({ options }: ClaimingLock, redelivers: boolean): WaitOptions {
  return waitFor({ deadlineMs: DEADLINE_MS, redelivers }, options)
}

/** Tells why Slack came again: `http_timeout` asks for a faster acknowledgement. */
function logRetry(lock: ClaimingLock, context: object): void {
  const { retryNum, retryReason } = context as { retryNum?: number; retryReason?: string }
  if (retryNum !== undefined) lock.log.info({ retryNum, retryReason }, 'the duplicate was a retry of Slack’s')
}
