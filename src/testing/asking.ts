/** Claims, renewals and settlements with everything filled in that a check does not care about. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type {
  Claim,
  ClaimPart,
  ClaimVerdict,
  CompletedMessage,
  MessageRef,
  MessageRow,
  PartVerdict,
  Renewal,
  RenewalVerdict,
  RowHeld,
  RowWanted,
  SessionRow,
  Settlement,
  SettlementVerdict,
  Store,
} from '../store/store.ts'

/** So long that no lease of a check runs out by itself. */
export const LONG_MS = 60_000
/** So short that a check can wait for it. */
export const SHORT_MS = 150
/** Further apart are no two clocks that both tell epoch milliseconds. */
export const CLOCKS_APART_MS = 600_000
/** More rows than any check makes. */
export const ALL = 10_000
/** The row that messages are at home in where a check does not care. */
export const HOME = 'A'

/** A lease in hand, as a check keeps it. */
export interface Lease {
  readonly owner: string
  readonly rows: readonly RowHeld[]
  readonly messages: readonly MessageRef[]
  readonly token: number
  readonly verdict: PartVerdict & { readonly outcome: 'acquired' }
}

/** A row by its key; prospect and device follow from it. */
export function row(key: string): RowWanted {
  return { key, prospect: 'prospect', device: 'device' }
}

/** A message by its key and the row that it is at home in. */
export function message(key: string, home = HOME): MessageRef {
  return { key, home, provider: 'test', device: 'device', id: 'id' }
}

/** A part by the keys of its rows and messages, which are at home in the first row. */
export function part(rowKeys: readonly string[], messageKeys: readonly string[] = []): ClaimPart {
  return { rows: rowKeys.map(row), messages: messageKeys.map((key) => message(key, rowKeys[0])) }
}

/** A claim of these parts, under an owner of its own unless one is named. */
export function claimOf(parts: readonly ClaimPart[], details: Partial<Claim> = {}): Claim {
  return { owner: randomUUID(), nodeId: 'node-1', parts, whole: true, staleAfterMs: LONG_MS, tokenAbove: 0, ...details }
}

/** Claims once, alone in its batch. */
export async function claimOnce(store: Store, claim: Claim): Promise<ClaimVerdict> {
  return only(await store.claim([claim]))
}

/** Claims one part; answers what became of it. */
export async function ask(store: Store, wanted: ClaimPart, details: Partial<Claim> = {}): Promise<PartVerdict> {
  return only(await claimOnce(store, claimOf([wanted], details)))
}

/** Claims one part, which must be given. */
export async function acquire(store: Store, wanted: ClaimPart, details: Partial<Claim> = {}): Promise<Lease> {
  const claim = claimOf([wanted], details)
  const verdict = only(await claimOnce(store, claim))
  return leaseOf(claim, 0, verdict)
}

/** The lease that a verdict gives for one part of a claim; fails where the part was not given. */
export function leaseOf(claim: Claim, index: number, verdict: PartVerdict | undefined): Lease {
  assert.ok(verdict?.outcome === 'acquired', `expected acquired, got ${verdict?.outcome}`)
  const token = verdict.fencingToken
  assert.ok(Number.isSafeInteger(token) && token > claim.tokenAbove, `no fencing token: ${token}`)
  const wanted = claim.parts[index]
  assert.ok(wanted)
  const rows = wanted.rows.map(({ key }) => ({ key, fencingToken: token }))
  return { owner: claim.owner, rows, messages: wanted.messages, token, verdict }
}

/** Settles one lease, as completed unless said otherwise. That somebody waits for it is settled, too. */
export async function settle(
  store: Store,
  lease: Lease,
  details: Partial<Settlement> = {},
): Promise<Exclude<SettlementVerdict, 'contended'>> {
  const verdict = only(await store.settle([settlementOf(lease, details)]))
  return verdict === 'contended' ? 'settled' : verdict
}

/** The settlement of a lease, as completed unless said otherwise. */
export function settlementOf(lease: Lease, details: Partial<Settlement> = {}): Settlement {
  const { owner, rows, messages } = lease
  const rest = { outcome: 'completed', retentionMs: LONG_MS, error: null, response: null } as const
  return { owner, nodeId: 'node-1', rows, messages, ...rest, ...details }
}

/** Renews all rows of one lease. */
export async function renew(store: Store, lease: Lease, details: Partial<Renewal> = {}): Promise<RenewalVerdict> {
  return only(await store.renew([{ owner: lease.owner, rows: lease.rows, staleAfterMs: LONG_MS, ...details }]))
}

/** Makes a message completed, under a row that nobody holds. */
export async function complete(
  store: Store,
  messageKey: string,
  details: Partial<Settlement> = {},
  home = HOME,
): Promise<void> {
  const lease = await acquire(store, part([home], [messageKey]))
  assert.equal(await settle(store, lease, details), 'settled')
}

/** Those of these messages that are completed and in retention. */
export async function look(store: Store, messageKeys: readonly string[], home = HOME): Promise<CompletedMessage[]> {
  return store.look(messageKeys.map((key) => message(key, home)))
}

/** All rows that are held, whoever holds them. */
export async function rowsHeld(store: Store): Promise<SessionRow[]> {
  return store.sessions({ limit: ALL })
}

/** The keys of all rows that are held, sorted. */
export async function keysHeld(store: Store): Promise<string[]> {
  return (await rowsHeld(store)).map(({ key }) => key).sort()
}

/** One row of the session table, which must be there. */
export async function rowOf(store: Store, key: string): Promise<SessionRow> {
  return only(await store.sessions({ keys: [key], limit: 2 }))
}

/** One message that was settled; undefined where it never was. */
export async function messageOf(store: Store, key: string): Promise<MessageRow | undefined> {
  const rows = await store.messages({ keys: [key], limit: 3 })
  return rows.find(({ status }) => status !== 'processing')
}

/** Two times that a store may have read one after the other, while it was busy. */
export function assertNear(actualMs: number, expectedMs: number): void {
  assert.ok(Math.abs(actualMs - expectedMs) < SHORT_MS, `${actualMs} ms is not about ${expectedMs} ms`)
}

/** The one and only item. */
export function only<T>(items: readonly T[]): T {
  assert.equal(items.length, 1, `expected one item, got ${items.length}`)
  return items[0] as T
}
