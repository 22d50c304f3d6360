/** When a message that failed is tried again. */

/**
 * Thrown by a handler that knows when it is worth trying again: after a rate limit, say. It counts as an attempt.
 *
 * @example
 * if (response.status === 429) throw new RetryLater(Number(response.headers.get('retry-after')) * 1000)
 */
export class RetryLater extends Error {
  override readonly name = 'RetryLater'
  readonly code = 'RETRY_LATER'
  /** Not before this many milliseconds from now. */
  readonly afterMs: number

  constructor(afterMs: number, message = `try again in ${afterMs} ms`) {
    super(message)
    this.afterMs = Math.max(0, Number.isFinite(afterMs) ? afterMs : 0)
  }
}

/** Why a handler's signal aborted with `onNewer: 'abort'`: its session has newer messages, and it will be called with all of them. */
export class NewerMessageError extends Error {
  override readonly name = 'NewerMessageError'
  readonly code = 'NEWER_MESSAGE'

  constructor() {
    super('session-lock: a newer message of this session has come; the handler will be called again with all of them')
  }
}

/** The first distance, doubled with each attempt, up to the last. */
export interface Backoff {
  readonly firstMs: number
  readonly mostMs: number
}

/** How long to wait after an attempt (counted from 1) has failed: between half and all of the distance, so that many do not come back at once. */
export function backoffMs({ firstMs, mostMs }: Backoff, attempt: number, random: () => number): number {
  const distanceMs = Math.min(mostMs, firstMs * 2 ** Math.min(attempt - 1, 30))
  return distanceMs * (0.5 + random() / 2)
}
