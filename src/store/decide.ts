/**
 * The decision about one claim: who gets what. The one place where it is written; every store
 * that decides in this process calls it with what it found *under the rows' locks*.
 */
import type { Claim, ClaimPart, CompletedMessage, Holder, PartVerdict, Strategy } from './store.ts'

/** A row as a store found it, after locking it. */
export interface RowFound {
  readonly key: string
  readonly owner: string | null
  readonly nodeId: string | null
  readonly messageKeys: readonly string[]
  readonly fencingToken: number
  /** By the store's clock, epoch milliseconds. */
  readonly lockedAt: number
  readonly renewedAt: number
  readonly expiresAt: number
  readonly contended: boolean
  /** Default `lease`. */
  readonly strategy?: Strategy
  /** true: it was inserted for this claim, and waited for a lock after it was stamped; so it is stamped again. */
  readonly waited?: boolean
}

/** A map, or what is asked like one. */
export interface Lookup<Value> {
  get(key: string): Value | undefined
}

/** What a store found for one batch of claims. */
export interface Found {
  /** Rows that exist, by key. A row just inserted for this very claim counts as found, with its owner. */
  readonly rows: Lookup<RowFound>
  /** Messages that are completed (or dead) and in retention, by key. */
  readonly completed: Lookup<CompletedMessage>
  /** Of the sessions and messages asked for, those that have queued messages or are queued; absent: none is. */
  readonly queued?: ReadonlySet<string> | undefined
  /** The store's clock, epoch milliseconds (fractions allowed), read after the rows were locked. */
  readonly now: number
  /**
   * The smallest token the store may give now: its clock in microseconds, read after the rows were
   * locked, or a counter that only grows where its clock is coarser than that. It is what lets a
   * token grow after a clean release, when the row and its last token are gone.
   */
  readonly tokenFloor: number
}

export interface Decision {
  /**
   * One a part. The rows of an `acquired` part are to be written with this claim's owner, the
   * verdict's token and a new expiry, unless they carry that token and owner already.
   */
  readonly verdicts: readonly PartVerdict[]
  /** Rows that somebody alive holds and that are not marked as waited for yet. */
  readonly markContended: readonly string[]
}

/** Decides one claim. Rows of `acquired` parts are to be written, any others just inserted are to be given back. */
export function decide(claim: Claim, found: Found): Decision {
  const parts = claim.parts.map((part) => decidePart(claim, part, found))
  if (!parts.some(isHeld)) return { verdicts: parts, markContended: NONE }
  const verdicts = claim.whole
    ? parts.map((part) =>
        part.outcome === 'acquired' ? { outcome: 'free' as const, completed: part.completed } : part,
      )
    : parts
  return { verdicts, markContended: rowsToMark(claim, verdicts, found) }
}

/** Shared by all who have none, which is nearly all of them. */
const NONE: readonly never[] = []

const isHeld = ({ outcome }: PartVerdict): boolean => outcome === 'held'

function decidePart(claim: Claim, part: ClaimPart, found: Found): PartVerdict {
  const completed = completedOf(part, found)
  if (part.messages.length > 0 && completed.length === part.messages.length) return { outcome: 'completed', completed }

  let takeover: Holder | null = null
  for (const wanted of part.rows) {
    const row = found.rows.get(wanted.key)
    if (!row || row.owner === claim.owner) continue
    const holder = holderOf(row, found.now)
    const isLive = row.expiresAt > found.now && !isLeftBehind(claim, row)
    if (isLive) return { outcome: 'held', holder, remainingMs: row.expiresAt - found.now, completed }
    takeover = holder
  }
  if (!claim.fromQueue && part.rows.some(({ key }) => found.queued?.has(key)))
    return heldByQueue(part, found.queued, completed)
  return { outcome: 'acquired', fencingToken: tokenFor(claim, part, found), takeover, completed }
}

function completedOf(part: ClaimPart, found: Found): readonly CompletedMessage[] {
  let completed: CompletedMessage[] | undefined
  for (const { key } of part.messages) {
    const done = found.completed.get(key)
    if (!done) continue
    completed ??= []
    completed.push(done)
  }
  return completed ?? NONE
}

/** Who holds a row's lock knows that the transaction it was held with is over, whatever its expiry. */
function isLeftBehind(claim: Claim, row: RowFound): boolean {
  return claim.strategy === 'transaction' && row.strategy === 'transaction'
}

/** Nobody can tell when their turn will be over. */
const QUEUED_REMAINING_MS = 1000

/** The session has queued messages. `queued`: those of the part that are queued are among them. */
export function heldByQueue(
  part: ClaimPart,
  queued: ReadonlySet<string> | undefined,
  completed: readonly CompletedMessage[],
): PartVerdict {
  const messageKeys = part.messages.map(({ key }) => key).filter((key) => queued?.has(key))
  const holder = { owner: null, nodeId: null, heldForMs: 0, silentForMs: 0, messageKeys }
  return { outcome: 'held', holder, remainingMs: QUEUED_REMAINING_MS, completed }
}

/** One token for all rows of a part: above the rows' last, above what this node has seen, and not below the clock. */
function tokenFor(claim: Claim, part: ClaimPart, found: Found): number {
  const kept = stampedToken(claim, part, found)
  if (kept !== undefined) return kept
  let token = Math.max(claim.tokenAbove + 1, found.tokenFloor)
  for (const wanted of part.rows) {
    const row = found.rows.get(wanted.key)
    if (row) token = Math.max(token, row.fencingToken + 1)
  }
  return token
}

/** The token that the insert has put on all rows of the part, where it did. */
function stampedToken(claim: Claim, part: ClaimPart, found: Found): number | undefined {
  let token: number | undefined
  for (const wanted of part.rows) {
    const row = found.rows.get(wanted.key)
    if (!row || row.owner !== claim.owner || row.waited) return undefined
    if (token !== undefined && token !== row.fencingToken) return undefined
    token = row.fencingToken
  }
  return token
}

function holderOf(row: RowFound, now: number): Holder {
  return {
    owner: row.owner,
    nodeId: row.nodeId,
    heldForMs: Math.max(0, now - row.lockedAt),
    silentForMs: Math.max(0, now - row.renewedAt),
    messageKeys: row.messageKeys,
  }
}

function rowsToMark(claim: Claim, verdicts: readonly PartVerdict[], found: Found): string[] {
  const keys: string[] = []
  claim.parts.forEach((part, index) => {
    if (verdicts[index]?.outcome !== 'held') return
    for (const { key } of part.rows) {
      const row = found.rows.get(key)
      if (row && row.owner !== claim.owner && row.expiresAt > found.now && !row.contended) keys.push(key)
    }
  })
  return keys
}
