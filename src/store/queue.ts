/**
 * The contract of the durable queue behind the inbox: what a store does beside {@link Store} where it can keep
 * messages until they are handled. The rules of `store.ts` hold here too.
 *
 * Two tables, one for sessions, one for messages, both empty when nothing waits:
 *
 * - **backlog**: one row for each session with queued messages. It says when the session is *due*, counts the attempts
 *   at its first message, and knows how far a worker has taken it. Receiver and finisher both write it, each in the transaction in which it adds or
 *   removes messages; so no message is ever left without a worker coming for it.
 * - **queued**: one row for each queued message, numbered within its session while its backlog is locked. That is the
 *   order in which they are handled, whatever the clock says.
 *
 * What a worker holds is an ordinary lease of the session, in the ordinary table: it excludes direct claims and is
 * renewed and lost like any other. While it is held the session is due when the lease would run out, so that stuck
 * work comes back by itself.
 */
import type { Claim, CompletedMessage, Holder, MessageRef, RowWanted } from './store.ts'

/** A message to be kept until it is handled. */
export interface QueuedMessage extends MessageRef {
  /** Its session; a message without one has a row of its own key. */
  readonly row: RowWanted
  /** Whatever the worker is to have of it. */
  readonly payload: Uint8Array
}

/** The messages of one delivery; all are stored, or none. */
export interface Arrival {
  /** This arrival's own random id. One repeated under the same owner finds its own messages. */
  readonly owner: string
  readonly messages: readonly QueuedMessage[]
  /** A session that is idle becomes due this long after its latest message, but no later than `mostMs` after its first. */
  readonly gather: Gather | null
}

export interface Gather {
  readonly quietMs: number
  readonly mostMs: number
}

/** For each message of the arrival, in its order: `queued` now, or `known` already. */
export type ArrivalVerdict = ReadonlyArray<'queued' | 'known'>

/** What a node asks for: sessions that are due, each with its first messages. */
export interface Take {
  /** One random id for each session that may be taken. */
  readonly owners: readonly string[]
  readonly nodeId: string
  readonly staleAfterMs: number
  readonly tokenAbove: number
  /** At most so many messages of each session. */
  readonly messagesEach: number
  /**
   * Where a session's first message is begun for the so-manieth time, or more often, and not for the first time, it comes
   * alone: those behind it have not been tried as often, and must not die with it.
   */
  readonly lastAttempt: number
}

/** When a session that somebody else has is due again: its lease may end long before it would run out. */
export function heldAgainMs(remainingMs: number): number {
  return Math.min(remainingMs, HELD_AGAIN_MS)
}

const HELD_AGAIN_MS = 1000

/** Without those that a direct claim has completed meanwhile. */
export function openMessages<Message extends MessageRef>(
  messages: readonly Message[],
  completed: readonly CompletedMessage[],
): Message[] {
  const done = new Set(completed.map(({ key }) => key))
  return messages.filter(({ key }) => !done.has(key))
}

/** How many messages of a session are taken whose first one was begun so often before. */
export function mostMessages(
  { messagesEach, lastAttempt }: Pick<Take, 'messagesEach' | 'lastAttempt'>,
  attempts: number,
) {
  return attempts > 0 && attempts + 1 >= lastAttempt ? 1 : messagesEach
}

/** A session that was taken. */
export interface Taken {
  /** As it would have been claimed. */
  readonly claim: Claim
  readonly fencingToken: number
  readonly takeover: Holder | null
  /** The first messages of the session, in order; never empty. */
  readonly messages: readonly TakenMessage[]
  /** How often the first of them was begun, this time included. */
  readonly attempt: number
}

export interface TakenMessage extends MessageRef {
  readonly payload: Uint8Array
  /** By the store's clock, epoch milliseconds. */
  readonly receivedAt: number
}

/** A message of a session, and its number in there. */
export interface PlacedMessage extends TakenMessage {
  readonly sequence: number
}

/** How a settlement leaves the session's queue. Its messages are the first ones of the session. */
export type QueueStep =
  /** They are done with (`completed`, or `failed` for good: then they are dead); the next ones are due. */
  | { readonly next: 'go-on' }
  /** They are dead, and stay first in line: nothing of the session is due until somebody steps in. */
  | { readonly next: 'stop' }
  /** They stay first in line, and are due again after this long. */
  | { readonly next: 'retry'; readonly afterMs: number }
  /** They were not begun after all: due at once, and the attempt does not count. */
  | { readonly next: 'give-back' }

/** A message that is to be queued again. */
export interface Requeued {
  readonly key: string
  readonly row: RowWanted
}

/** What waits, in numbers. */
export interface QueueDepth {
  /** Sessions with queued messages, and how many of them are stopped at a dead one. */
  readonly sessions: number
  readonly stopped: number
  readonly messages: number
  /** How long the oldest queued message has waited; null where none does. */
  readonly oldestMs: number | null
}

export interface Queue {
  /**
   * Stores what is new. A message that is queued, in hand, completed or dead is `known`; one that failed under a direct
   * claim is queued. Two arrivals of one batch may share a session, but never a message.
   */
  enqueue(arrivals: readonly Arrival[]): Promise<ArrivalVerdict[]>
  /**
   * Takes sessions that are due, the longest due first, never one that another node is taking (`SKIP LOCKED`). One that
   * is held by a direct claim is due again a moment later. One whose first message is dead is stopped, until that message
   * is queued again or discarded; of any other the messages up to the first dead one are taken.
   */
  take(wanted: Take): Promise<Taken[]>
  /** Of these sessions, those for which messages wait behind the ones in hand. */
  haveMore(rowKeys: readonly string[]): Promise<string[]>
  /**
   * Queues messages of this status again whose payload is still there: at the end of their session's line, or, where a
   * dead one stopped it, where it stands. Resolves to how many there were.
   */
  requeue(messages: readonly Requeued[], from: 'dead' | 'completed'): Promise<number>
  /** Completes queued and dead messages unhandled. Never one in hand. Resolves to how many there were. */
  discard(messageKeys: readonly string[], retentionMs: number): Promise<number>
  depth(): Promise<QueueDepth>
  /** How far a source that is polled has been read, as its poller wrote it; null at the beginning. */
  position(source: string): Promise<string | null>
  /**
   * As {@link Queue.enqueue}, and moves the source's position in the same transaction, unless it is no longer `from`:
   * then nothing is stored, and this resolves to null.
   */
  enqueueFrom(source: string, from: string | null, to: string, arrival: Arrival): Promise<ArrivalVerdict | null>
}
