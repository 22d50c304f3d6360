/** What a framework hands to the engine, and what it gets back. */
import type { MessageKind } from '../providers/provider.ts'
import type { Lease } from './lease.ts'

export type { MessageKind }

/**
 * One message as a provider's reader found it. The values are still as they stood in the body:
 * the engine checks them, so that a number where text belongs becomes a clear 400.
 */
export interface DeliveryMessage {
  /** What a redelivery keeps. Absent, null, `''`, `0` and `'0'` are no ids. */
  readonly id?: unknown
  /** The conversation, where another one's messages can have the same ids. */
  readonly within?: unknown
  readonly prospect?: unknown
  readonly device?: unknown
  readonly kind?: MessageKind
  /** Another name of the same person: the session is held under both. */
  readonly prospectAlt?: unknown
  /** The group or conversation: names the session where there is no prospect. */
  readonly group?: unknown
  /** What a message without an id is told apart by: see {@link FINGERPRINT_RETENTION_MS}. */
  readonly content?: unknown
  /** A session named by one string, in place of prospect and device. */
  readonly session?: unknown
}

/**
 * A message without an id is known by its content, for as long as its handler runs and this much longer:
 * enough for the retries that arrived meanwhile, too little for somebody who writes the same again on purpose.
 */
export const FINGERPRINT_RETENTION_MS = 1000

/** One HTTP POST of a provider, read. */
export interface Delivery {
  readonly provider: string
  readonly messages: readonly DeliveryMessage[]
  /** true: one message can arrive under two sessions; its own key is held beside the session. */
  readonly twins?: boolean
}

/** Messages of a delivery that could not be had before the deadline, while others could. */
export interface Withheld {
  readonly reason: 'busy' | 'in_flight'
  readonly retryAfterMs: number
  /** Their positions in the delivery. */
  readonly messages: readonly number[]
}

/** How a handler ended. */
export type HandlerResult =
  | { readonly status: 'completed'; readonly response?: Uint8Array }
  | { readonly status: 'failed'; readonly error: unknown }

/**
 * - `settled`: written.
 * - `lost`: some lease of it was no longer ours; its messages were not touched.
 * - `unsettled`: the store could not be asked in time; it is tried again in the background.
 */
export type SettleResult = 'settled' | 'lost' | 'unsettled'

/** What an acquired delivery holds while its handler runs. */
export interface Hold {
  /** One a session (or one a message, where it has no session). */
  readonly leases: readonly Lease[]
  /** Positions in the delivery of the messages that the handler is to see. */
  readonly fresh: readonly number[]
  /** Positions of those that are handled already, or repeated within the delivery. */
  readonly duplicates: readonly number[]
  /** Set where the rest was busy or in flight at the deadline: the answer must make the provider come again. */
  readonly withheld: Withheld | null
  /** Aborts when any lease of it is lost. */
  readonly signal: AbortSignal
  /** The largest token of its leases; 0 where nothing is held (`onStoreError: 'allow'`). */
  readonly fencingToken: number
  /**
   * Once it is settled: why the handler's transaction was not committed although it had completed. Its messages
   * failed, and whoever waits for the answer must come again. Undefined with the strategy `lease`.
   */
  readonly rolledBack?: Error | undefined
  /** Runs code as this hold's handler, so that a claim of its own session is told so. */
  within<Result>(work: () => Result): Result
  /** Ends all leases. The second call changes nothing. Never rejects. */
  settle(result: HandlerResult): Promise<SettleResult>
  /** The same, where nobody waits for it. */
  end(result: HandlerResult): void
}

/** What became of a delivery. */
export type DeliveryOutcome =
  | { readonly outcome: 'acquired'; readonly hold: Hold }
  /** Every message is completed. `response` is what the settlement stored, if anything. */
  | { readonly outcome: 'duplicate'; readonly of: 'completed'; readonly response: Uint8Array | null }
  /** Somebody is handling it still. */
  | { readonly outcome: 'duplicate'; readonly of: 'in_flight'; readonly retryAfterMs: number }
  /** A different message holds the session. */
  | { readonly outcome: 'busy'; readonly retryAfterMs: number }
  /** No message of it has an id or a session. */
  | { readonly outcome: 'unkeyed' }
