/** What becomes of a session's messages in the queue when their handler has ended. */
import type { HandlerResult } from '../engine/delivery.ts'
import type { QueueStep, Taken } from '../store/queue.ts'
import type { ResolvedInboxOptions } from './options.ts'
import { backoffMs, NewerMessageError, RetryLater } from './retry.ts'

/** A message's process has ended in the middle of the handler, as often as it may. */
export class GivenUpError extends Error {
  override readonly name = 'GivenUpError'

  constructor(attempts: number) {
    super(
      `session-lock: given up after ${attempts} attempts that never came to an end; the process died, or the lease ran out`,
    )
  }
}

export function stepAfter(
  taken: Taken,
  result: HandlerResult,
  options: ResolvedInboxOptions,
  random: () => number,
): { step: QueueStep; retentionMs: number } {
  const { completedRetentionMs, deadRetentionMs, maxAttempts, backoff, onDead } = options
  if (result.status === 'completed') return { step: { next: 'go-on' }, retentionMs: completedRetentionMs }
  const { error } = result
  if (error instanceof NewerMessageError) return { step: { next: 'give-back' }, retentionMs: completedRetentionMs }
  if (taken.attempt < maxAttempts && isRetryable(error, options)) {
    const afterMs = error instanceof RetryLater ? error.afterMs : backoffMs(backoff, taken.attempt, random)
    return { step: { next: 'retry', afterMs }, retentionMs: completedRetentionMs }
  }
  return { step: { next: onDead }, retentionMs: deadRetentionMs }
}

function isRetryable(error: unknown, { retryable }: ResolvedInboxOptions): boolean {
  if (error instanceof GivenUpError) return false
  if (error instanceof RetryLater) return true
  try {
    return retryable(error)
  } catch {
    return true
  }
}
