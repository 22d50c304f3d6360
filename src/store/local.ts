/**
 * Claims, renewals, settlements and forced releases for the stores that work inside this process
 * (memory, SQLite). They differ in where a row is kept; what is done to it stands here, once.
 *
 * Everything here is synchronous, and runs while nobody else can write: between two turns of the
 * event loop (memory), or inside a write transaction (SQLite).
 */
import { decide } from './decide.ts'
import type { QueueStep } from './queue.ts'
import {
  errorText,
  isKept,
  readableText,
  type StoredMessage,
  type StoredSession,
  settledStatus,
  toSessionRow,
} from './rows.ts'
import type {
  Claim,
  ClaimPart,
  ClaimVerdict,
  CompletedMessage,
  MessageRef,
  MessageStatus,
  PartVerdict,
  ReleaseOptions,
  Renewal,
  RenewalVerdict,
  SessionRow,
  Settlement,
  SettlementVerdict,
} from './store.ts'

/** The clock's milliseconds are rounded down; without one more, a lease could end up to one too early. */
const CLOCK_STEP_MS = 1

/** In whose hands a session is. */
export type HeldSession = Pick<StoredSession, 'owner' | 'fencingToken' | 'lockedAt' | 'contended'>

/** Where rows are kept. Rows are replaced, never changed in place. */
export interface Tables {
  session(key: string): StoredSession | undefined
  /** What a settlement has to know of a session, which happens to every message. */
  held(key: string): HeldSession | undefined
  putSession(row: StoredSession): void
  removeSession(key: string): void
  message(key: string): StoredMessage | undefined
  putMessage(row: StoredMessage): void
  /** Has this session queued messages? Absent: there is no queue. */
  hasBacklog?(sessionKey: string): boolean
  /** What a settlement means for its session's queue. */
  stepQueue?(settlement: Settlement, step: QueueStep, now: number): void
}

/** The store's clock as it stands for one batch. */
export interface Moment {
  /** Epoch milliseconds, read when nobody else could write any more. */
  readonly now: number
  /**
   * The largest fencing token ever given. Raised by claims: the clock has milliseconds only, and
   * two leases of one session can follow each other faster than that.
   */
  largestToken: number
}

/** Decides a batch of claims and writes what they got. */
export function claimAll(tables: Tables, claims: readonly Claim[], moment: Moment): ClaimVerdict[] {
  const found = {
    rows: { get: (key: string) => tables.session(key) },
    completed: { get: (key: string) => completedMessage(tables, key, moment.now) },
    queued: undefined as ReadonlySet<string> | undefined,
    now: moment.now,
    tokenFloor: 0,
  }
  return claims.map((claim) => {
    found.tokenFloor = Math.max(moment.largestToken + 1, Math.floor(moment.now * 1000))
    found.queued = queuedOf(tables, claim)
    const decision = decide(claim, found)
    claim.parts.forEach((part, index) => {
      const verdict = decision.verdicts[index]
      if (verdict?.outcome === 'acquired') takeRows(tables, claim, part, verdict, moment)
      else giveBackRows(tables, claim.owner, part)
    })
    for (const key of decision.markContended) {
      const row = tables.session(key)
      if (row) tables.putSession({ ...row, contended: true })
    }
    return decision.verdicts
  })
}

/** Asked only of a direct claim: a worker's own session has queued messages. */
function queuedOf(tables: Tables, claim: Claim): ReadonlySet<string> | undefined {
  if (claim.fromQueue || !tables.hasBacklog) return undefined
  const queued = new Set<string>()
  for (const part of claim.parts) {
    for (const { key } of part.rows) if (tables.hasBacklog(key)) queued.add(key)
    if (queued.size === 0) continue
    for (const { key } of part.messages) if (isQueued(tables.message(key))) queued.add(key)
  }
  return queued.size === 0 ? undefined : queued
}

function isQueued(message: StoredMessage | undefined): boolean {
  return message?.status === 'queued' || message?.status === 'processing'
}

/** The message, if it is completed (or dead) and in retention. */
export function completedMessage(tables: Tables, key: string, now: number): CompletedMessage | undefined {
  const message = tables.message(key)
  return message && isHandled(message, now) ? { key, response: message.response } : undefined
}

/** Lets each row live on that is still this owner's, expired or not. */
export function renewRows(tables: Tables, renewal: Renewal, now: number): RenewalVerdict {
  return renewal.rows.map(({ key, fencingToken }) => {
    const row = tables.session(key)
    if (row?.owner !== renewal.owner || row.fencingToken !== fencingToken) return false
    tables.putSession({ ...row, renewedAt: now, expiresAt: now + CLOCK_STEP_MS + renewal.staleAfterMs })
    return true
  })
}

/** Ends one lease: its rows go and its messages are written, or nothing happens. */
export function settleRows(tables: Tables, settlement: Settlement, now: number): SettlementVerdict {
  const rows = settlement.rows.map(({ key }) => tables.held(key))
  const isHeld = settlement.rows.every(({ fencingToken }, index) => {
    const row = rows[index]
    return row?.owner === settlement.owner && row.fencingToken === fencingToken
  })
  if (!isHeld) return isSettledAlready(tables, settlement) ? 'settled' : 'lost'
  const startedAt = rows[0]?.lockedAt ?? null
  for (const { key } of settlement.rows) tables.removeSession(key)
  if (settlement.outcome !== 'released') {
    const ended = { status: settledStatus(settlement), startedAt, now }
    for (const message of settlement.messages) settleMessage(tables, settlement, message, ended)
  }
  if (settlement.step) tables.stepQueue?.(settlement, settlement.step, now)
  return rows.some((row) => row?.contended) ? 'contended' : 'settled'
}

/** Marks a row stale and clears its owner. Returns it as it was. */
export function releaseRow(
  tables: Tables,
  key: string,
  { onlyStale = false }: ReleaseOptions,
  now: number,
): SessionRow | undefined {
  const row = tables.session(key)
  if (!row || (onlyStale && (row.owner === null || row.expiresAt > now))) return undefined
  tables.putSession({ ...row, owner: null, expiresAt: Math.min(row.expiresAt, now) })
  return toSessionRow(row, now)
}

function takeRows(
  tables: Tables,
  claim: Claim,
  part: ClaimPart,
  verdict: Extract<PartVerdict, { outcome: 'acquired' }>,
  moment: Moment,
): void {
  moment.largestToken = Math.max(moment.largestToken, verdict.fencingToken)
  const { completed } = verdict
  const open = completed.length === 0 ? part.messages : part.messages.filter(({ key }) => !isAmong(completed, key))
  const messageKeys = open.map((message) => message.key)
  for (const { key, prospect, device } of part.rows) {
    const before = tables.session(key)
    tables.putSession({
      key,
      prospect: readableText(prospect),
      device: readableText(device),
      owner: claim.owner,
      nodeId: claim.nodeId,
      messageKeys,
      fencingToken: verdict.fencingToken,
      lockedAt: moment.now,
      renewedAt: moment.now,
      expiresAt: moment.now + CLOCK_STEP_MS + claim.staleAfterMs,
      // A repeat of the same claim: whoever waits for it waits still.
      contended: before?.owner === claim.owner && before.contended,
    })
  }
}

function isAmong(messages: readonly CompletedMessage[], key: string): boolean {
  return messages.some((message) => message.key === key)
}

/** A repeated claim can find rows of its own first try, and not get the part this time. */
function giveBackRows(tables: Tables, owner: string, part: ClaimPart): void {
  for (const { key } of part.rows) if (tables.session(key)?.owner === owner) tables.removeSession(key)
}

/** Only this lease's own settlement puts its owner and token on a message, so one such message tells. */
function isSettledAlready(tables: Tables, settlement: Settlement): boolean {
  if (settlement.outcome === 'released') return false
  return settlement.messages.some(({ key }) => {
    const message = tables.message(key)
    return message?.owner === settlement.owner && message.fencingToken === settlement.rows[0]?.fencingToken
  })
}

function settleMessage(
  tables: Tables,
  settlement: Settlement,
  message: MessageRef,
  { status, startedAt, now }: { status: MessageStatus; startedAt: number | null; now: number },
): void {
  const before = tables.message(message.key)
  // Under two sessions, somebody else may have completed it meanwhile; a failure takes nothing of that back.
  if (status !== 'completed' && before && isHandled(before, now)) return
  // Nor does a direct one take a message out of the queue.
  if (status === 'failed' && before?.status === 'queued') return
  const sessionKey = settlement.rows[0]?.key ?? null
  tables.putMessage({
    key: message.key,
    provider: readableText(message.provider),
    device: readableText(message.device),
    messageId: readableText(message.id),
    sessionKey: sessionKey === message.key ? null : sessionKey,
    status,
    owner: settlement.owner,
    nodeId: settlement.nodeId,
    fencingToken: settlement.rows[0]?.fencingToken ?? null,
    attempts: (before?.attempts ?? 0) + 1,
    lastError: errorText(settlement.error),
    response: settlement.response,
    receivedAt: before?.receivedAt ?? null,
    startedAt,
    finishedAt: now,
    expiresAt: isKept(settlement) ? null : now + (message.retentionMs ?? settlement.retentionMs),
  })
}

function isHandled(message: StoredMessage, now: number): boolean {
  if (message.status !== 'completed' && message.status !== 'dead') return false
  return message.expiresAt === null || message.expiresAt > now
}
