/** A turn: one claim on its way, from the delivery's arrival to its outcome. */
import type { Claim, CompletedMessage, PartVerdict } from '../store/store.ts'
import type { StoreTransaction } from '../store/transactions.ts'
import type { DeliveryOutcome, Withheld } from './delivery.ts'
import type { HeldElsewhere, Waiter } from './lines.ts'
import type { Plan, PlannedMessage, PlannedPart } from './plan.ts'
import type { Timer } from './port.ts'

/** Why a part cannot be had: another message holds its session, or somebody handles this very message. */
export type Reason = 'busy' | 'in_flight'

/** What the store said of a part. */
export interface Said {
  readonly part: PlannedPart
  readonly said: PartVerdict
}

export interface Turn extends Waiter {
  readonly plan: Plan
  /** Those still wanted: a part goes when its messages turn out to be completed, or when time is up for it. */
  parts: readonly PlannedPart[]
  completed: ReadonlyMap<string, CompletedMessage>
  withheld: ReadonlyMap<PlannedPart, Reason>
  /** Another one for the last claim: see `finalize` in claims.ts. */
  owner: string
  readonly enteredAt: number
  readonly deadlineAt: number
  /** When `lockWaitMs` is over. */
  timer: Timer | undefined
  /** When the provider waits no longer for any answer. */
  giveUp: Timer | undefined
  /** Whoever asked may want it no longer, until it is had. */
  stopListening: (() => void) | undefined
  /** Time is up: what is free is taken, nothing is waited for. */
  final: boolean
  /** What the store is being asked, or was asked last, and since when. */
  request: Claim | undefined
  sentAt: number
  /** How many of its leases have not ended. */
  leasesLeft: number
  /** Whose locks it asks with, and that its handler gets; and who waits for the answer. Of the strategy `transaction`. */
  transaction: StoreTransaction | undefined
  whenAnswered: (() => void) | undefined
  /** Ends what is being waited for, where whoever asked wants it no longer. */
  whenGone: (() => void) | undefined
  readonly resolve: (outcome: DeliveryOutcome) => void
  readonly reject: (error: unknown) => void
}

/** A turn that has not begun. */
export function newTurn(
  known: Pick<Turn, 'plan' | 'parts' | 'completed' | 'owner' | 'enteredAt' | 'deadlineAt' | 'resolve' | 'reject'>,
): Turn {
  return {
    plan: known.plan,
    parts: known.parts,
    keys: linesOf(known.parts),
    state: 'waiting',
    completed: known.completed,
    withheld: NONE,
    owner: known.owner,
    enteredAt: known.enteredAt,
    deadlineAt: known.deadlineAt,
    timer: undefined,
    giveUp: undefined,
    stopListening: undefined,
    final: false,
    request: undefined,
    sentAt: 0,
    leasesLeft: 0,
    transaction: undefined,
    whenAnswered: undefined,
    whenGone: undefined,
    resolve: known.resolve,
    reject: known.reject,
  }
}

/** Calls back once the signal aborts; the function returned ends that. */
export function whenAborted(signal: AbortSignal, aborted: (reason: unknown) => void): () => void {
  const listener = (): void => aborted(signal.reason)
  signal.addEventListener('abort', listener, { once: true })
  return () => signal.removeEventListener('abort', listener)
}

/** A refused message is worth sending again after this long. */
export const RETRY_AFTER_MS = 2000

/** The lines a part stands in: its rows' and its messages'. Where a message is a row itself, they are one line. */
export function lineKeys(part: PlannedPart): string[] {
  const [row, second] = part.rows
  const keys: string[] = []
  for (const { key } of part.rows) keys.push(key)
  for (const { key } of part.messages) if (second || key !== row?.key) keys.push(key)
  return second ? [...new Set(keys)] : keys
}

/** The lines of several parts. */
export function linesOf(parts: readonly PlannedPart[]): string[] {
  const [first, second] = parts
  return first && !second ? lineKeys(first) : parts.flatMap(lineKeys)
}

/** The message of the turn that has this key, where it still wants it. */
export function messageOf({ parts }: Turn, key: string): PlannedMessage | undefined {
  for (const part of parts) for (const message of part.messages) if (message.key === key) return message
  return undefined
}

/** Is everything that a part guards completed? A part of a session alone never is. */
export function isCompleted(completed: ReadonlyMap<string, CompletedMessage>, part: PlannedPart): boolean {
  return part.messages.length > 0 && part.messages.every((message) => completed.has(message.key))
}

/** Most turns never have any, and need no map of their own. */
export const NONE: ReadonlyMap<never, never> = new Map<never, never>()

/** Notes that a message of the turn is completed. */
export function noteCompleted(turn: Turn, message: CompletedMessage): void {
  turn.completed = withEntry(turn.completed, message.key, message)
}

/** Notes why a part is not had. */
export function withhold(turn: Turn, part: PlannedPart, reason: Reason): void {
  turn.withheld = withEntry(turn.withheld, part, reason)
}

/** The same map with one more, unless it is the one that all share. */
function withEntry<Key, Value>(map: ReadonlyMap<Key, Value>, key: Key, value: Value): ReadonlyMap<Key, Value> {
  const own = map === NONE ? new Map<Key, Value>() : (map as Map<Key, Value>)
  return own.set(key, value)
}

/** The part without those of its messages that turned out to be completed. */
export function openPart({ completed }: Turn, part: PlannedPart): PlannedPart {
  if (completed.size === 0) return part
  return { ...part, messages: part.messages.filter((message) => !completed.has(message.key)) }
}

/** The part with those of its messages only that turned out to be completed. */
export function completedPart({ completed }: Turn, part: PlannedPart): PlannedPart {
  return { ...part, messages: part.messages.filter((message) => completed.has(message.key)) }
}

/** Several parts, one answer: busy where any is, for then the whole must come again in any case. */
export function worst(reasons: Iterable<Reason>): Reason {
  for (const reason of reasons) if (reason === 'busy') return 'busy'
  return 'in_flight'
}

interface Positions {
  readonly fresh: readonly number[]
  readonly duplicates: readonly number[]
}

const LONE: Positions = { fresh: [0], duplicates: [] }

/** Where the messages stand that the handler is to see, and those it is not to see again. */
export function positions(turn: Turn, parts: readonly PlannedPart[]): Positions {
  const { unkeyed, repeated, size } = turn.plan
  if (turn.completed.size === 0 && repeated.length === 0 && parts.length === turn.plan.parts.length) {
    return size === 1 ? LONE : { fresh: Array.from({ length: size }, (_, position) => position), duplicates: [] }
  }
  const duplicates = new Set(repeated)
  for (const part of turn.plan.parts) {
    for (const { key, position } of part.messages) if (turn.completed.has(key)) duplicates.add(position)
  }
  // A message without an id stands in a part whose other messages are completed: nobody knows that it was handled.
  const completedParts = turn.plan.parts.filter((part) => isCompleted(turn.completed, part))
  const wanted = new Set([...unkeyed, ...[...parts, ...completedParts].flatMap((part) => part.positions)])
  const fresh = [...wanted].filter((position) => !duplicates.has(position))
  const ascending = (a: number, b: number) => a - b
  return { fresh: fresh.sort(ascending), duplicates: [...duplicates].sort(ascending) }
}

export function withheldOf(turn: Turn): Withheld | null {
  if (turn.withheld.size === 0) return null
  const messages = [...turn.withheld.keys()].flatMap((part) => part.positions)
  return { reason: worst(turn.withheld.values()), retryAfterMs: RETRY_AFTER_MS, messages }
}

/** The rows that somebody else holds, as the store said. */
export function heldRows(answers: readonly Said[]): Map<string, HeldElsewhere> {
  const rows = new Map<string, HeldElsewhere>()
  for (const { part, said } of answers) {
    if (said.outcome !== 'held') continue
    for (const row of part.rows) rows.set(row.key, { ...said.holder, remainingMs: said.remainingMs })
  }
  return rows
}

/** Why a part that the store called held cannot be had. */
export function reasonSaid({ part, said }: Said): Reason {
  const inHand = said.outcome === 'held' ? said.holder.messageKeys : []
  return part.messages.some((message) => inHand.includes(message.key)) ? 'in_flight' : 'busy'
}
