/**
 * The store contract: what every database behind session-lock must do, and nothing else.
 *
 * A store is plain atomic input and output. The algorithm (waiting, queues, heartbeats,
 * retries, batching) stands once, in the engine; the decision about one claim stands once,
 * in `decide.ts`. A store brings them to one database.
 *
 * Glossary
 *
 * - **message**: the unit that is handled once. Its key is provider + device + message id.
 * - **session**: one conversation, prospect + device. Its key names one *row*.
 * - **row**: what is held now. Usually a session; for a message without a session, the
 *   message's own key. A row exists only while somebody holds it (or held it and crashed).
 * - **claim**: to ask for rows on behalf of messages. It has one random **owner**.
 * - **part**: the rows and messages of a claim that stand and fall together; it becomes one lease.
 * - **lease**: a part that was given: rows, owner, fencing token, expiry.
 * - **fencing token**: an integer that only grows from one lease of a row to the next.
 * - **stale**: a row whose expiry has passed, by the store's clock.
 * - **takeover**: a claim that gets a stale row.
 * - **settle**: to end a lease, with `completed`, `failed` or `released` (messages untouched).
 * - **give back**: to remove a row just taken, in the same transaction.
 *
 * Rules that hold for every method:
 *
 * 1. Time is the *store's* clock, read after the row is locked; never the caller's.
 * 2. A verdict counts only once it is durable (after COMMIT has answered).
 * 3. A call takes a batch and answers each item, in the order given, with one verdict.
 *    No two items of one batch name the same row or the same message (the engine sees to it).
 * 4. A call settles within the store's time limit: it rejects with a {@link StoreError},
 *    it never hangs. A rejected batch changed nothing, or its answer was lost
 *    (`answerLost`): then it may be repeated under the same owners, with the same outcome.
 *    Where only some items failed, the error tells what became of each (`verdicts`).
 * 5. `renew` and `settle` compare row key, owner *and* fencing token.
 * 6. An empty batch gives `[]`; after `close` every call rejects with a {@link StoreError}.
 */
import type { Finding } from './examine.ts'
import type { Queue, QueueStep } from './queue.ts'
import type { Transactions } from './transactions.ts'

/**
 * How a row is held. `lease`: until it is settled or stale. `transaction`: also no longer than the locks
 * of its handler's transaction, so that whoever has these may take it over at once.
 */
export type Strategy = 'lease' | 'transaction'

/** A row that a claim asks for. `prospect` and `device` are for people who read the table. */
export interface RowWanted {
  /** The row's key: well-formed text without NUL, at most {@link MAX_KEY_BYTES} bytes as UTF-8. */
  readonly key: string
  readonly prospect: string | null
  readonly device: string | null
}

/** What a message is found by. */
export interface MessageAddress {
  /** The message's key: well-formed text without NUL, at most {@link MAX_KEY_BYTES} bytes as UTF-8. */
  readonly key: string
  /**
   * The key of its home: that one of its part's rows which every delivery of it asks for, whatever else it asks
   * for. A store whose rows lie on several servers keeps the message where this row is.
   */
  readonly home: string
}

/** A message that a claim is for, or that a settlement writes. */
export interface MessageRef extends MessageAddress {
  readonly provider: string
  readonly device: string | null
  readonly id: string
  /** How long it is remembered, where that differs from its settlement's. */
  readonly retentionMs?: number
}

/** Rows and messages that stand and fall together: all rows are taken, or none. */
export interface ClaimPart {
  /** At least one row. */
  readonly rows: readonly RowWanted[]
  /** The messages the rows guard; empty for a claim of a session alone. */
  readonly messages: readonly MessageRef[]
}

/** One request for the right to handle messages. */
export interface Claim {
  /** This claim's own random id. A claim repeated under the same owner finds its own rows. */
  readonly owner: string
  readonly nodeId: string
  readonly parts: readonly ClaimPart[]
  /** true: when any part is held by somebody else, no part is taken. */
  readonly whole: boolean
  /** How long the lease lasts unless renewed. */
  readonly staleAfterMs: number
  /** The token must be larger than this: the largest that this node has seen. */
  readonly tokenAbove: number
  /** true: for the session's own queued messages. Any other claim of a session with queued messages is held by them. */
  readonly fromQueue?: boolean
  /** `transaction`: who asks holds the locks of all these rows (see {@link Transactions}). Default `lease`. */
  readonly strategy?: Strategy
}

/** A message that was handled and is still in retention. */
export interface CompletedMessage {
  readonly key: string
  /** What the settlement stored as the answer, if anything. */
  readonly response: Uint8Array | null
}

/** Who held a row before it was taken over, or holds it now. */
export interface Holder {
  readonly owner: string | null
  readonly nodeId: string | null
  /** Since when, by the store's clock: milliseconds before now. */
  readonly heldForMs: number
  /** Since its claim or its last renewal: milliseconds before now. */
  readonly silentForMs: number
  /** Keys of the messages in its hands. */
  readonly messageKeys: readonly string[]
}

/** What became of one part of a claim. `completed` lists those of its messages that are handled already. */
export type PartVerdict =
  | {
      readonly outcome: 'acquired'
      /** The same on all rows of the part. */
      readonly fencingToken: number
      /** Set where a row was stale: whom it was taken from. */
      readonly takeover: Holder | null
      readonly completed: readonly CompletedMessage[]
    }
  /** Every message is completed: nothing is held. */
  | { readonly outcome: 'completed'; readonly completed: readonly CompletedMessage[] }
  /** Somebody alive holds a row of the part. */
  | {
      readonly outcome: 'held'
      readonly holder: Holder
      /** Until the holder's lease runs out, unless it is renewed. */
      readonly remainingMs: number
      readonly completed: readonly CompletedMessage[]
    }
  /** Could have been had, but another part of a `whole` claim is held: nothing is held. */
  | { readonly outcome: 'free'; readonly completed: readonly CompletedMessage[] }

/** One verdict a part, in the claim's order. */
export type ClaimVerdict = readonly PartVerdict[]

/** A row in hand, as renewals and settlements name it. */
export interface RowHeld {
  readonly key: string
  readonly fencingToken: number
}

/** A heartbeat: the rows of one owner live for `staleAfterMs` from now. */
export interface Renewal {
  readonly owner: string
  readonly rows: readonly RowHeld[]
  readonly staleAfterMs: number
}

/** For each row of the renewal, in its order: is it still this owner's? */
export type RenewalVerdict = readonly boolean[]

/** One lease ends. */
export interface Settlement {
  readonly owner: string
  readonly nodeId: string
  readonly rows: readonly RowHeld[]
  readonly messages: readonly MessageRef[]
  /**
   * `completed`: never again within retention; `failed`: a redelivery may try again;
   * `released`: the rows go, the messages are not touched.
   */
  readonly outcome: 'completed' | 'failed' | 'released'
  /** How long a settled message is remembered. */
  readonly retentionMs: number
  /** Set where the messages came out of the queue: what becomes of them there. */
  readonly step?: QueueStep
  /** Why it failed, for people; at most 1000 characters are kept. */
  readonly error: string | null
  readonly response: Uint8Array | null
}

/**
 * `settled`: rows gone, messages written, in one transaction. Also for a repeat whose first
 * try had arrived (the message carries this owner and token).
 * `contended`: settled, and a row of it was marked as contended: another process waits for it.
 * `lost`: a row is gone or another's; then no row was removed and no message touched.
 */
export type SettlementVerdict = 'settled' | 'contended' | 'lost'

/** A row of the session table, as people see it. Times are by the store's clock, as epoch milliseconds. */
export interface SessionRow {
  readonly key: string
  readonly prospect: string | null
  readonly device: string | null
  /** null after a forced release. */
  readonly owner: string | null
  readonly nodeId: string | null
  readonly messageKeys: readonly string[]
  readonly fencingToken: number
  readonly lockedAt: number
  readonly renewedAt: number
  readonly expiresAt: number
  /** true: somebody on another node waits for it. */
  readonly contended: boolean
  /** true: the expiry has passed; the next claim takes it over. */
  readonly stale: boolean
  readonly strategy: Strategy
}

export type MessageStatus = (typeof MESSAGE_STATUSES)[number]

export const MESSAGE_STATUSES = ['queued', 'processing', 'completed', 'failed', 'dead'] as const

/** A row of the message table, as people see it. Times are epoch milliseconds by the store's clock. */
export interface MessageRow {
  readonly key: string
  readonly provider: string
  readonly device: string | null
  readonly messageId: string
  readonly sessionKey: string | null
  readonly status: MessageStatus
  readonly owner: string | null
  readonly nodeId: string | null
  readonly fencingToken: number | null
  /** How often it was handled to an end. */
  readonly attempts: number
  readonly lastError: string | null
  /** When the inbox stored it; null where it did not. */
  readonly receivedAt: number | null
  /** When its latest handling began; null where it has not, or where the store does not keep it (Redis). */
  readonly startedAt: number | null
  readonly finishedAt: number | null
  readonly expiresAt: number | null
}

export interface SessionFilter {
  readonly keys?: readonly string[]
  readonly stale?: boolean
  /** At most this many, the longest held first. */
  readonly limit: number
}

/** Whatever people may call a message by. */
export interface About {
  /** The message's key or id, or its session's key. */
  readonly name: string
  /** Or its session's key ends so. */
  readonly sessionEnding: string
}

export interface MessageFilter {
  readonly keys?: readonly string[]
  /** Not indexed: for people, not for the handling of messages. Redis looks through the latest 10 000 only. */
  readonly messageIds?: readonly string[]
  /** Likewise. */
  readonly about?: About
  readonly status?: MessageStatus
  /** At most this many: unfinished ones first, then the latest. */
  readonly limit: number
}

export interface StoreStats {
  /** Rows held now, and how many of them are stale. */
  readonly sessions: number
  readonly staleSessions: number
  readonly messages: Readonly<Record<MessageStatus, number>>
  /** Rows held now, by node. */
  readonly nodes: ReadonlyArray<{ readonly nodeId: string; readonly sessions: number; readonly stale: number }>
}

export interface CleanupOptions {
  /** Rows stale for longer than this go. */
  readonly abandonedAfterMs: number
  /** At most this many rows of each table in one call: they are locked, and others may wait, meanwhile. */
  readonly limit: number
}

export interface CleanupReport {
  readonly messages: number
  readonly sessions: number
  /** true: the limit was reached, there may be more to remove. */
  readonly more: boolean
}

export interface ReleaseOptions {
  readonly onlyStale?: boolean
}

export interface Store {
  /** For logs and errors, without any password: `mysql://localhost:3306/bot`. */
  readonly name: string
  /** true: nothing of it is shared with other processes (the memory store). */
  readonly singleProcess: boolean
  /** true: its operations run in this thread, where nothing else goes on meanwhile. A clean-up then takes smaller steps. */
  readonly inThread?: boolean
  /** Makes the tables where they are missing; safe when many nodes do so at once. Returns what it applied. */
  migrate(): Promise<readonly string[]>
  /** Rejects unless the tables are there and of a version that this code knows. */
  checkSchema(): Promise<void>
  claim(claims: readonly Claim[]): Promise<ClaimVerdict[]>
  /** Which of these messages are completed and in retention? Takes nothing, locks nothing. */
  look(messages: readonly MessageAddress[]): Promise<CompletedMessage[]>
  renew(renewals: readonly Renewal[]): Promise<RenewalVerdict[]>
  settle(settlements: readonly Settlement[]): Promise<SettlementVerdict[]>
  /**
   * Forced release: the row is marked stale and its owner cleared, so that the living holder's
   * next renewal is refused; it is not deleted, so that the token lives on. Returns the rows
   * as they were, those that were there; with `onlyStale` those that somebody held and that were stale, judged
   * once the row was locked: a live holder's row is not touched.
   */
  release(rowKeys: readonly string[], options?: ReleaseOptions): Promise<SessionRow[]>
  /** By keys: those rows, also where they were released by force. Else what is held. */
  sessions(filter: SessionFilter): Promise<SessionRow[]>
  messages(filter: MessageFilter): Promise<MessageRow[]>
  stats(): Promise<StoreStats>
  /**
   * Removes expired messages and abandoned rows, in one bounded batch, by primary key, with the
   * condition repeated on the row it deletes. Never a live row, never a `queued` message.
   */
  cleanup(options: CleanupOptions): Promise<CleanupReport>
  /**
   * From now on, calls back with a row's key when some process has settled or released a row that was marked
   * as contended: whoever waits for it need not ask again by himself until then. Nothing is lost when a call
   * is: who waits asks again anyway, only later. Absent: the database cannot tell. Called once, after `migrate`
   * or `checkSchema`; the listening connection is the store's own affair, reconnects included.
   */
  listen?(released: (rowKey: string) => void): void
  /** Looks at the database itself: its version, clock, settings, privileges, indexes. Also where the tables are missing. */
  examine?(): Promise<Finding[]>
  /** The durable queue behind the inbox. Absent: this store has none. */
  readonly queue?: Queue
  /** Transactions for handlers. Absent: this store has none. */
  readonly transactions?: Transactions
  /** Closes what this store opened itself, and only that. */
  close(): Promise<void>
}

/** What a store is opened with. */
export interface StoreSettings {
  /** Tables are named `<tablePrefix>sessions` and so on. Letters, digits and underscores. */
  readonly tablePrefix: string
  /** Every call settles within this time. */
  readonly timeoutMs: number
  /** true: the database's own settings stay as they are (SQLite's journal_mode), for a look from outside. */
  readonly asItIs?: boolean
}

/** No key is longer than this, as UTF-8; longer ones are hashed before they reach a store. */
export const MAX_KEY_BYTES = 255

/**
 * - `unreachable`: no answer (down, refused, timed out, connection lost). Try later.
 * - `conflict`: deadlock, lock wait timeout. Nothing was changed: the same batch may be tried again at once.
 * - `data`: the database refuses the contents of some operation of the batch.
 * - `setup`: missing driver, table or privilege, wrong URL, wrong version. Trying again does not help.
 */
export type StoreErrorKind = (typeof STORE_ERROR_KINDS)[number]

export const STORE_ERROR_KINDS = ['unreachable', 'conflict', 'data', 'setup'] as const

/**
 * What every store rejects with.
 *
 * @example
 * try { await lock.run({ messageId: 'wamid.1' }, handle) } catch (error) {
 *   if (error instanceof StoreError && error.kind === 'unreachable') retryLater()
 * }
 */
export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly code: string
  readonly kind: StoreErrorKind
  /** true: the batch may have been written all the same. Repeat it under the same owners. */
  readonly answerLost: boolean
  /** Where only some items of a batch failed: for each its verdict, or the error that it failed with. */
  readonly verdicts: readonly unknown[] | undefined

  constructor(
    kind: StoreErrorKind,
    message: string,
    options: { cause?: unknown; answerLost?: boolean; verdicts?: readonly unknown[] } = {},
  ) {
    super(message, { cause: options.cause })
    this.kind = kind
    this.code = `STORE_${kind.toUpperCase()}`
    this.answerLost = options.answerLost ?? false
    this.verdicts = options.verdicts
  }
}

/** What an error says, without the package's name before it: for texts that name it already. */
export function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/^session-lock: /, '')
}
