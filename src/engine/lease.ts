/** A lease: the right to handle, as the handler sees it. */

import type { TransactionClient } from '../store/transactions.ts'

/** What a handler is given. `Tx`: the driver's connection, where the strategy is `transaction`. */
export interface Lease<Tx = TransactionClient | undefined> {
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
  /**
   * With the strategy `transaction`: the driver's own connection (a promise `Connection` of mysql2, a `Client` of
   * pg), inside the transaction that is committed when the handler has completed, and rolled back when it throws or
   * the lease is lost. All leases of one delivery share it. Leave BEGIN, COMMIT and ROLLBACK to session-lock; a
   * savepoint of your own does no harm. With the strategy `lease`: undefined.
   *
   * @example
   * const tx = req.sessionLock?.leases[0]?.tx // undefined where the request is no delivery
   * await tx?.query('UPDATE accounts SET balance = balance + 1 WHERE id = ?', [id])
   */
  readonly tx: Tx
  /** Aborts when the lease is lost; `signal.reason` is a {@link LeaseLostError}. */
  readonly signal: AbortSignal
}
