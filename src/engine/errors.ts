/** The errors of the engine. Each has a `code` for programs and a text that says what to do. */

/** What whatever was thrown says of itself. Anything can be thrown, also what no text can be made of. */
export function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown)
  } catch {
    return 'what was thrown cannot be shown as text'
  }
}

/** The error that was thrown, or one that says what was thrown in its place. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(messageOf(thrown))
}

/**
 * An option is unknown or impossible. Thrown at start, naming the option.
 *
 * @example
 * try { createSessionLock({ lockWaitMs: -1 }) } catch (error) { error instanceof OptionsError }
 */
export class OptionsError extends Error {
  override readonly name = 'OptionsError'
  readonly code = 'INVALID_OPTIONS'
  /** The option's name, as it was written. */
  readonly option: string

  constructor(option: string, problem: string) {
    super(`session-lock: option "${option}" ${problem}`)
    this.option = option
  }
}

/** A message id, prospect, device or provider that no key can be made of. Becomes a 400. */
export class KeyError extends Error {
  override readonly name = 'KeyError'
  readonly code = 'INVALID_KEY'
  /** `messageId`, `prospect`, `device`, `provider` or `session`. */
  readonly field: string

  constructor(field: string, problem: string) {
    super(`session-lock: ${field} ${problem}`)
    this.field = field
  }
}

/** The lock is closing or closed: no new claims are taken. Becomes a 503. */
export class ClosedError extends Error {
  override readonly name = 'ClosedError'
  readonly code = 'CLOSED'

  constructor() {
    super('session-lock: the lock is closed; no new claims are taken')
  }
}

/** A handler claims a session that it holds itself: it would wait for its own end. */
export class ReentryError extends Error {
  override readonly name = 'ReentryError'
  readonly code = 'REENTRY'

  constructor(session: string) {
    super(
      `session-lock: this code already runs inside a handler that holds ${session}; ` +
        'claiming it again would wait for itself. Call the work directly, or claim another session.',
    )
  }
}

/**
 * Why a lease was lost. `refused`: taken over or released by force; `expired`: not renewed in time; `max_hold`:
 * `maxHoldMs` is over; `connection`: that of the handler's transaction was lost.
 */
export type Loss = (typeof LOSSES)[number]

export const LOSSES = ['refused', 'expired', 'max_hold', 'connection'] as const

/** Why a lease's signal aborted: `signal.reason`. */
export class LeaseLostError extends Error {
  override readonly name = 'LeaseLostError'
  readonly code = 'LEASE_LOST'
  readonly loss: Loss

  constructor(loss: Loss) {
    const text = {
      refused: 'the lease was taken over or released by force',
      expired: 'the lease could not be renewed in time',
      max_hold: 'the handler ran for longer than maxHoldMs',
      connection: 'the connection of its transaction was lost, and with it what was written there',
    }[loss]
    super(`session-lock: ${text}; stop writing, somebody else may run now`)
    this.loss = loss
  }
}
