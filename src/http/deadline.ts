/** How long a delivery may wait: never longer than its provider leaves room for. */
import type { ResolvedOptions } from '../engine/options.ts'
import type { Provider } from '../providers/provider.ts'

/** How long to wait for a turn, and when to answer at the latest. */
export interface DeliveryWait {
  readonly lockWaitMs: number
  readonly answerWithinMs?: number
}

/** For reading the body, the handler's own work and the way back: the last part of the provider's patience. */
const MARGIN_MS = 500

/**
 * A provider that redelivers is waited for `lockWaitMs`, or as long as its deadline leaves. One that does
 * not is better waited for than refused: as long as the deadline leaves, unless `lockWaitMs` was chosen.
 */
export function waitFor(
  provider: Pick<Provider, 'deadlineMs' | 'redelivers'> | undefined,
  { lockWaitMs, lockWaitIsDefault }: Pick<ResolvedOptions, 'lockWaitMs' | 'lockWaitIsDefault'>,
): DeliveryWait {
  if (provider?.deadlineMs === undefined) return { lockWaitMs }
  const { deadlineMs, redelivers } = provider
  const marginMs = Math.min(MARGIN_MS, deadlineMs / 4)
  const roomMs = deadlineMs - marginMs
  return {
    lockWaitMs: lockWaitIsDefault && !redelivers ? roomMs : Math.min(lockWaitMs, roomMs),
    answerWithinMs: deadlineMs - marginMs / 2,
  }
}
