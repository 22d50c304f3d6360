/** Looking inside: reads without locks. */
import type { Query } from './postgres-connection.ts'
import { bytes, milliseconds, millisecondsOrNull, type Names } from './postgres-values.ts'
import { decodeMessageKeys } from './rows.ts'
import type {
  CompletedMessage,
  MessageAddress,
  MessageFilter,
  MessageRow,
  MessageStatus,
  SessionFilter,
  SessionRow,
  StoreStats,
  Strategy,
} from './store.ts'

/** Which of these messages are completed and in retention. */
export async function look(
  query: Query,
  { prefix }: Names,
  messages: readonly MessageAddress[],
): Promise<CompletedMessage[]> {
  if (messages.length === 0) return []
  const keys = messages.map(({ key }) => bytes(key))
  const [answer] = await query({ sql: `SELECT ${prefix}look($1::bytea[])`, values: [keys] })
  const found = JSON.parse(answer?.[0] ?? '') as Array<[key: string, response: string | null]>
  return found.map(([key, response]) => ({ key, response: response === null ? null : Buffer.from(response, 'base64') }))
}

/** A row of the session table as the functions tell it; times are microseconds since 1970. */
export type SessionAnswer = readonly [
  key: string,
  prospect: string | null,
  device: string | null,
  owner: string | null,
  nodeId: string,
  messageKeys: string,
  token: number,
  lockedAt: number,
  renewedAt: number,
  expiresAt: number,
  contended: boolean,
  stale: boolean,
  strategy: Strategy,
]

/** The row as people see it. */
export function sessionRow(answer: SessionAnswer): SessionRow {
  const [key, prospect, device, owner, nodeId, messageKeys, fencingToken, lockedAt, renewedAt, expiresAt] = answer
  const [contended, stale, strategy] = answer.slice(10) as [boolean, boolean, Strategy]
  return {
    key,
    prospect,
    device,
    owner,
    nodeId,
    messageKeys: decodeMessageKeys(messageKeys),
    fencingToken,
    lockedAt: milliseconds(lockedAt),
    renewedAt: milliseconds(renewedAt),
    expiresAt: milliseconds(expiresAt),
    contended,
    stale,
    strategy,
  }
}

/** The session table, the longest held first. */
export async function listSessions(query: Query, names: Names, filter: SessionFilter): Promise<SessionRow[]> {
  const rows = await query({
    sql: `SELECT ${names.prefix}session_row(held) FROM ${names.sessions} AS held
      WHERE (session_key = ANY ($1) OR ($1::bytea[] IS NULL AND owner IS NOT NULL))
        AND ($2::boolean IS NULL OR (expires_at <= clock_timestamp()) = $2)
      ORDER BY locked_at LIMIT $3`,
    values: [filter.keys?.map(bytes) ?? null, filter.stale ?? null, filter.limit],
  })
  return rows.map(([row]) => sessionRow(JSON.parse(row ?? '') as SessionAnswer))
}

/** The message table, unfinished ones first, then the latest. */
export async function listMessages(query: Query, names: Names, filter: MessageFilter): Promise<MessageRow[]> {
  const micros = `${names.prefix}micros`
  const rows = await query({
    sql: `SELECT json_build_array(convert_from(message_key, 'UTF8'), provider, id_device, message_id,
        convert_from(session_key, 'UTF8'), status, owner, node_id, fencing_token, attempts, last_error,
        ${micros}(received_at), ${micros}(started_at), ${micros}(finished_at), ${micros}(expires_at))
      FROM ${names.messages}
      WHERE ($1::bytea[] IS NULL OR message_key = ANY ($1)) AND ($2::text IS NULL OR status = $2)
        AND ($4::text[] IS NULL OR message_id = ANY ($4))
        AND ($5::bytea IS NULL OR message_key = $5 OR message_id = $6 OR session_key = $5
          OR substring(session_key FROM octet_length(session_key) - octet_length($7::bytea) + 1) = $7)
      ORDER BY finished_at DESC NULLS FIRST LIMIT $3`,
    values: [
      filter.keys?.map(bytes) ?? null,
      filter.status ?? null,
      filter.limit,
      filter.messageIds ?? null,
      filter.about ? bytes(filter.about.name) : null,
      filter.about?.name ?? null,
      filter.about ? bytes(filter.about.sessionEnding) : null,
    ],
  })
  return rows.map(([row]) => messageRow(JSON.parse(row ?? '') as MessageAnswer))
}

type MessageAnswer = readonly [
  key: string,
  provider: string,
  device: string | null,
  id: string,
  sessionKey: string | null,
  status: MessageStatus,
  owner: string | null,
  nodeId: string | null,
  token: number | null,
  attempts: number,
  error: string | null,
  receivedAt: number | null,
  startedAt: number | null,
  finishedAt: number | null,
  expiresAt: number | null,
]

function messageRow(answer: MessageAnswer): MessageRow {
  const [key, provider, device, messageId, sessionKey, status, owner, nodeId, fencingToken, attempts, lastError] =
    answer
  const [receivedAt, startedAt, finishedAt, expiresAt] = answer.slice(11) as Array<number | null>
  return {
    key,
    provider,
    device,
    messageId,
    sessionKey,
    status,
    owner,
    nodeId,
    fencingToken,
    attempts,
    lastError,
    receivedAt: millisecondsOrNull(receivedAt ?? null),
    startedAt: millisecondsOrNull(startedAt ?? null),
    finishedAt: millisecondsOrNull(finishedAt ?? null),
    expiresAt: millisecondsOrNull(expiresAt ?? null),
  }
}

/** Counts both tables. */
export async function countRows(query: Query, names: Names): Promise<StoreStats> {
  const rows = await query({
    sql: `SELECT 'node', node_id, count(*), count(*) FILTER (WHERE expires_at <= clock_timestamp())
        FROM ${names.sessions} WHERE owner IS NOT NULL GROUP BY node_id
      UNION ALL SELECT 'status', status, count(*), 0 FROM ${names.messages} GROUP BY status`,
  })
  const nodes: Array<StoreStats['nodes'][number]> = []
  const messages: Record<MessageStatus, number> = { queued: 0, processing: 0, completed: 0, failed: 0, dead: 0 }
  for (const [kind, name, count, stale] of rows) {
    if (kind === 'status') messages[name as MessageStatus] = Number(count)
    else nodes.push({ nodeId: name ?? '', sessions: Number(count), stale: Number(stale) })
  }
  return {
    sessions: nodes.reduce((sum, node) => sum + node.sessions, 0),
    staleSessions: nodes.reduce((sum, node) => sum + node.stale, 0),
    messages,
    nodes,
  }
}
