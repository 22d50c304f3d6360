/**
 * Transactions for handlers: what a store has beside the contract where its database holds a lock for as long
 * as a transaction lives, and can write a handler's own statements and the settlement in one commit.
 *
 * - **lock**: one for each row's key, held by one transaction at a time, and gone with it, whatever ends it: a
 *   commit, a killed process, a cut connection. It is not the row: that stays free for heartbeats and claims.
 *
 * Each transaction has a connection of its own, never one out of the user's pool. How many there are at once is
 * for the engine to bound; connections that are free again stay open for the next.
 */
import type { Settlement, SettlementVerdict } from './store.ts'

export interface Transactions {
  /** Rejects with a {@link StoreError} of kind `setup` where this database cannot do it, and says why. */
  check(): Promise<void>
  /**
   * Begins one, READ COMMITTED, and takes the locks of these rows. For those that others hold it waits up to
   * `waitMs`, asleep in the database, while it holds none itself. It settles a little after that at the latest.
   * Once `unwanted` aborts it waits no longer, and rejects.
   */
  begin(rowKeys: readonly string[], waitMs: number, unwanted?: AbortSignal): Promise<Begun>
}

export interface Begun {
  readonly transaction: StoreTransaction
  /** The rows whose locks were not to be had in time. It has those of the others. */
  readonly held: readonly string[]
}

/** The driver's own connection, inside the transaction: a promise `Connection` of mysql2, a `Client` of pg. */
export interface TransactionClient {
  // biome-ignore lint/suspicious/noExplicitAny: each driver takes and answers its own; name its type to have it checked
  query(sql: string, values?: any[]): Promise<any>
}

/** One handler's transaction, until it is committed, rolled back or lost. */
export interface StoreTransaction {
  readonly tx: TransactionClient
  /** Fulfilled when its connection is lost before it has come to an end: all of it is rolled back. */
  readonly lost: Promise<void>
  /** Fulfilled when it has come to an end, whichever: another one may take its place. */
  readonly ended: Promise<void>
  /**
   * Settles in it and commits, or rolls it all back: where any verdict is `lost`, and where it rejects. With a
   * {@link TransactionEndedError} where it was over already; with a {@link StoreError} else, whose `answerLost`
   * says that it may have been committed all the same.
   */
  settle(settlements: readonly Settlement[]): Promise<SettlementVerdict[]>
  /** Never rejects. Does nothing where it has come to an end. */
  rollback(): Promise<void>
  /** Rolls back by cutting the connection: whatever it is doing just now, this waits for nothing. */
  cut(): void
}

/**
 * A handler's own statements have ended the transaction that it ran in, so that its writes and the mark
 * "completed" can no longer be committed together. The message fails.
 */
export class TransactionEndedError extends Error {
  override readonly name = 'TransactionEndedError'
  readonly code = 'TRANSACTION_ENDED'

  constructor(cause: unknown) {
    super(
      'session-lock: the transaction of lease.tx ended before the handler did, so the message is not completed. ' +
        'The handler ran COMMIT, ROLLBACK or BEGIN, or a statement that commits by itself (in MySQL CREATE, ALTER, ' +
        'DROP, TRUNCATE …), or it went on after an error that ends a transaction: a deadlock, in Postgres any. ' +
        'Leave COMMIT and ROLLBACK to session-lock, let such errors through, or set a SAVEPOINT before what may fail. ' +
        'What was written after the end stays written.',
      { cause },
    )
  }
}
