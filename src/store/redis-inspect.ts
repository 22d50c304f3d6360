/** Looking inside, and cleaning up. Never by SCAN: the sorted sets that the scripts keep say which keys there are. */

import type { Send } from './redis-connection.ts'
import { integer, list, type Reply, type Run, text, textOrNull, toMicros } from './redis-scripts.ts'
import type {
  CleanupOptions,
  CleanupReport,
  MessageFilter,
  MessageRow,
  MessageStatus,
  SessionFilter,
  SessionRow,
  StoreStats,
} from './store.ts'

/** So many values are read by one script: the server does nothing else meanwhile. */
const READ_AT_ONCE = 500

/** What is held now, the longest held first. Reads all that is held, which is as much as the bots have in hand. */
export async function listSessions(run: Run, send: Send, prefix: string, filter: SessionFilter): Promise<SessionRow[]> {
  const keys = filter.keys ?? (await heldKeys(send, prefix))
  const rows = (await readByKey(run, 'rows', keys)).map(sessionRow)
  return rows
    .filter((row) => filter.stale === undefined || row.stale === filter.stale)
    .sort((a, b) => a.lockedAt - b.lockedAt)
    .slice(0, filter.limit)
}

/** A row of the scripts `rows` and `release`. */
export function sessionRow(reply: Reply): SessionRow {
  const [key, row, now] = list(reply)
  const [owner, nodeId, prospect, device, messageKeys, token, lockedAt, renewedAt, expiresAt, contended] = list(row)
  return {
    key: text(key),
    prospect: textOrNull(prospect),
    device: textOrNull(device),
    owner: textOrNull(owner),
    nodeId: textOrNull(nodeId),
    messageKeys: list(messageKeys).map(text),
    fencingToken: integer(token),
    lockedAt: milliseconds(lockedAt),
    renewedAt: milliseconds(renewedAt),
    expiresAt: milliseconds(expiresAt),
    contended: contended === 1,
    stale: integer(expiresAt) <= integer(now),
  }
}

/** What has happened, the latest first. */
export async function listMessages(run: Run, filter: MessageFilter): Promise<MessageRow[]> {
  const keys = filter.keys ?? (await latestKeys(run, filter))
  const rows = (await readByKey(run, 'messages', keys)).map(messageRow)
  return rows
    .filter((row) => filter.status === undefined || row.status === filter.status)
    .sort((a, b) => (b.finishedAt ?? 0) - (a.finishedAt ?? 0))
    .slice(0, filter.limit)
}

async function latestKeys(run: Run, { limit, status }: MessageFilter): Promise<string[]> {
  const reply = await run('latest', [limit, status ?? ''])
  const found: Array<{ key: string; finishedAt: number }> = []
  for (let index = 0; index < reply.length; index += 2) {
    found.push({ key: text(reply[index]), finishedAt: integer(reply[index + 1]) })
  }
  found.sort((a, b) => b.finishedAt - a.finishedAt)
  return found.slice(0, limit).map(({ key }) => key)
}

function messageRow(reply: Reply): MessageRow {
  const [key, message] = list(reply)
  const [status, provider, device, id, sessionKey, owner, nodeId, token, attempts, error, , finishedAt, retentionMs] =
    list(message)
  return {
    key: text(key),
    provider: text(provider),
    device: textOrNull(device),
    messageId: text(id),
    sessionKey: textOrNull(sessionKey),
    status: text(status) as MessageStatus,
    owner: textOrNull(owner),
    nodeId: textOrNull(nodeId),
    fencingToken: typeof token === 'number' ? token : null,
    attempts: integer(attempts),
    lastError: textOrNull(error),
    finishedAt: milliseconds(finishedAt),
    expiresAt: milliseconds(finishedAt) + integer(retentionMs),
  }
}

/** Counts both; messages without reading them. */
export async function countRows(run: Run, send: Send, prefix: string): Promise<StoreStats> {
  const rows = (await readByKey(run, 'rows', await heldKeys(send, prefix))).map(sessionRow)
  const nodes = new Map<string, { nodeId: string; sessions: number; stale: number }>()
  for (const { nodeId, stale } of rows) {
    if (nodeId === null) continue
    const node = nodes.get(nodeId) ?? { nodeId, sessions: 0, stale: 0 }
    nodes.set(nodeId, { nodeId, sessions: node.sessions + 1, stale: node.stale + (stale ? 1 : 0) })
  }
  const messages: Record<MessageStatus, number> = { queued: 0, processing: 0, completed: 0, failed: 0, dead: 0 }
  const counts = await run('counts', [])
  for (let index = 0; index < counts.length; index += 2) {
    messages[text(counts[index]) as MessageStatus] += integer(counts[index + 1])
  }
  const staleSessions = rows.filter((row) => row.stale).length
  return { sessions: rows.length, staleSessions, messages, nodes: [...nodes.values()] }
}

/** Removes abandoned rows and what is left of expired messages. */
export async function cleanUp(run: Run, { abandonedAfterMs, limit }: CleanupOptions): Promise<CleanupReport> {
  const [messages, sessions] = await run('cleanup', [toMicros(abandonedAfterMs), limit])
  return { messages: integer(messages), sessions: integer(sessions) }
}

async function heldKeys(send: Send, prefix: string): Promise<string[]> {
  return ((await send('ZRANGE', [`${prefix}held`, 0, -1])) as Buffer[]).map(text)
}

async function readByKey(run: Run, script: 'rows' | 'messages', keys: readonly string[]): Promise<Reply[]> {
  const distinct = [...new Set(keys)]
  const found: Reply[] = []
  for (let start = 0; start < distinct.length; start += READ_AT_ONCE) {
    const page = distinct.slice(start, start + READ_AT_ONCE)
    found.push(...(await run(script, [page.length, ...page])))
  }
  return found
}

/** Whole epoch milliseconds from microseconds. */
function milliseconds(reply: Reply | undefined): number {
  return Math.floor(integer(reply) / 1000)
}
