/** What the middleware of every bot framework does: claim, go on, settle. */
import type { Delivery, Hold } from '../engine/delivery.ts'
import type { WaitOptions } from '../engine/lock.ts'
import type { ClaimingLock } from '../http/claim.ts'
import { RefusedError } from './refused.ts'

/** Contexts that one middleware has claimed; a second one behind it lets them pass. */
const claimed = new WeakSet<object>()

/** One update on its way through a framework's middleware. */
export interface Passage {
  /** The framework's own object, which it makes anew for each delivery. */
  readonly context: object
  readonly delivery: Delivery
  readonly wait?: WaitOptions
  /** Goes on to the handlers. */
  next(): unknown
}

/**
 * Goes on to the handlers unless the update is completed already.
 *
 * @throws RefusedError where it is busy or in flight; what the handlers throw, after the update is marked failed, or
 * why their transaction was not committed
 */
export async function handleOnce(lock: ClaimingLock, passage: Passage): Promise<'handled' | 'duplicate'> {
  const { context, delivery, wait, next } = passage
  if (claimed.has(context)) {
    await next()
    return 'handled'
  }
  const outcome = await lock.claim(delivery, wait)
  if (outcome.outcome === 'busy') throw new RefusedError('BUSY', outcome.retryAfterMs)
  if (outcome.outcome === 'duplicate') {
    if (outcome.of === 'in_flight') throw new RefusedError('IN_FLIGHT', outcome.retryAfterMs)
    return 'duplicate'
  }
  claimed.add(context)
  if (outcome.outcome === 'unkeyed') await next()
  else await settled(outcome.hold, next)
  return 'handled'
}

async function settled(hold: Hold, next: () => unknown): Promise<void> {
  try {
    await hold.within(async () => next())
  } catch (error) {
    await hold.settle({ status: 'failed', error })
    throw error
  }
  await hold.settle({ status: 'completed' })
  if (hold.rolledBack) throw hold.rolledBack
}
