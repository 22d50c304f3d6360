/** Renewals, settlements and forced releases: what happens to rows in somebody's hands. Each a transaction. */

import { lockBacklogs, stepQueue, type TakenThrough } from './mysql-backlogs.ts'
import type { Query } from './mysql-connection.ts'
import { lockSessions, markReleased, readSessions } from './mysql-inspect.ts'
import {
  deleteHeld,
  deleteUncontended,
  findHandlers,
  findHolders,
  type Hold,
  holdsOf,
  renewHeld,
  type SettledMessage,
  type TableNames,
  writeMessages,
} from './mysql-statements.ts'
import { integer, text, textOrNull } from './mysql-values.ts'
import type { ReleaseOptions, Renewal, RenewalVerdict, SessionRow, Settlement, SettlementVerdict } from './store.ts'

/** What was found under a key: in whose hands it is, and, of a row, whether somebody waits for it. */
type Hands = ReadonlyMap<
  string,
  { readonly owner: string | null; readonly fencingToken: number; readonly contended: boolean }
>

const NOBODY: Hands = new Map()

/** Renews every row that is still its owner's. */
export async function renewBatch(
  query: Query,
  names: TableNames,
  renewals: readonly Renewal[],
): Promise<RenewalVerdict[]> {
  let renewed = 0
  // One process has one `staleAfterMs`, so this is one statement.
  for (const staleAfterMs of new Set(renewals.map((renewal) => renewal.staleAfterMs))) {
    const holds = holdsOf(renewals.filter((renewal) => renewal.staleAfterMs === staleAfterMs))
    if (holds.length > 0) renewed += (await query(renewHeld(names, holds, staleAfterMs))).affectedRows
  }
  const holds = holdsOf(renewals)
  // The rows renewed are locked by now, and the others were not this owner's: that does not change any more.
  const hands = renewed === holds.length ? undefined : await findHands(query, findHolders(names, keysOf(holds), false))
  return renewals.map(({ owner, rows }) =>
    rows.map((row) => hands === undefined || isIn(hands, row.key, owner, row.fencingToken)),
  )
}

/** Ends the leases. The usual case, that all are held and nobody waits, is told by how many rows were deleted. */
export async function settleBatch(
  query: Query,
  names: TableNames,
  settlements: readonly Settlement[],
): Promise<SettlementVerdict[]> {
  const holds = holdsOf(settlements)
  const through = await lockBacklogs(query, names, settlements)
  const deleted = holds.length > 0 ? (await query(deleteUncontended(names, holds))).affectedRows : 0
  if (deleted === holds.length) {
    await write(query, names, settlements, through)
    return settlements.map(() => 'settled')
  }
  await query({ sql: 'ROLLBACK', values: [] })
  return settleOneByOne(query, names, settlements)
}

/** Some rows are gone, another's or waited for: lock what is there, and judge each settlement alone. */
export async function settleOneByOne(
  query: Query,
  names: TableNames,
  settlements: readonly Settlement[],
): Promise<SettlementVerdict[]> {
  const keys = keysOf(holdsOf(settlements))
  const through = await lockBacklogs(query, names, settlements)
  const holders = keys.length > 0 ? await findHands(query, findHolders(names, keys, true)) : NOBODY
  const held = settlements.filter(({ owner, rows }) =>
    rows.every((row) => isIn(holders, row.key, owner, row.fencingToken)),
  )
  const others = settlements.filter((settlement) => !held.includes(settlement))
  const messageKeys = others.flatMap((settlement) => settlement.messages.map((message) => message.key))
  const handlers = messageKeys.length > 0 ? await findHands(query, findHandlers(names, messageKeys)) : NOBODY
  const heldRows = holdsOf(held)
  if (heldRows.length > 0) await query(deleteHeld(names, heldRows))
  await write(query, names, held, through)
  return settlements.map((settlement) => {
    if (!held.includes(settlement)) return isSettledAlready(settlement, handlers) ? 'settled' : 'lost'
    return settlement.rows.some((row) => holders.get(row.key)?.contended) ? 'contended' : 'settled'
  })
}

/** What settlements write of their messages. */
export function settledMessages(settlements: readonly Settlement[]): SettledMessage[] {
  return settlements
    .filter((settlement) => settlement.outcome !== 'released')
    .flatMap((settlement) => settlement.messages.map((message) => ({ settlement, message })))
}

async function write(
  query: Query,
  names: TableNames,
  settlements: readonly Settlement[],
  through: TakenThrough,
): Promise<void> {
  const written = settledMessages(settlements)
  if (written.length > 0) await query(writeMessages(names, written))
  await stepQueue(query, names, settlements, through)
}

/** Only this lease's own settlement puts its owner and token on a message, so one such message tells. */
function isSettledAlready(settlement: Settlement, handlers: Hands): boolean {
  const token = settlement.rows[0]?.fencingToken
  if (settlement.outcome === 'released' || token === undefined) return false
  return settlement.messages.some((message) => isIn(handlers, message.key, settlement.owner, token))
}

/** Marks the rows stale and clears their owner. Returns them as they were. */
export async function releaseBatch(
  query: Query,
  names: TableNames,
  rowKeys: readonly string[],
  { onlyStale = false }: ReleaseOptions,
): Promise<SessionRow[]> {
  if (rowKeys.length === 0) return []
  const locked = await readSessions(query, lockSessions(names, rowKeys))
  const rows = onlyStale ? locked.filter(({ owner, stale }) => stale && owner !== null) : locked
  const found = new Map(rows.map((row) => [row.key, row]))
  if (found.size > 0) await query(markReleased(names, [...found.keys()]))
  return rowKeys.map((key) => found.get(key)).filter((row) => row !== undefined)
}

async function findHands(query: Query, statement: Parameters<Query>[0]): Promise<Hands> {
  const { rows } = await query(statement)
  return new Map(
    rows.map(([key, owner, token, contended]) => [
      text(key),
      {
        owner: textOrNull(owner),
        fencingToken: integer(token),
        contended: contended ? integer(contended) === 1 : false,
      },
    ]),
  )
}

function isIn(hands: Hands, key: string, owner: string, fencingToken: number): boolean {
  const found = hands.get(key)
  return found?.owner === owner && found.fencingToken === fencingToken
}

function keysOf(holds: readonly Hold[]): string[] {
  return holds.map(([key]) => key)
}
