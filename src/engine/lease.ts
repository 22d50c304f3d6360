/** A lease: the right to handle, as the handler sees it. */

/** What a handler is given. */
export interface Lease {
  /** `prospect · device` for people, or the message id where there is no session. */
  readonly name: string
  readonly prospect: string | null
  readonly device: string | null
  /** The ids of the messages in hand under this lease. */
  readonly messageIds: readonly string[]
  /** The claim's own random id. */
  readonly owner: string
  /**
   * Grows from one lease of a session to the next. Write it beside what the handler writes, and
   * refuse a smaller one: that is how a handler that hung past its lease is kept out. 0 where
   * nothing is held (`onStoreError: 'allow'`).
   */
  readonly fencingToken: number
  /** true: the row was stale and was taken over; its last handler may have done part of the work. */
  readonly takeover: boolean
  /** Aborts when the lease is lost; `signal.reason` is a {@link LeaseLostError}. */
  readonly signal: AbortSignal
}
