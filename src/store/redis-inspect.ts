/** Looking inside, and cleaning up. Never by SCAN: the sorted sets that the scripts keep say which keys there are. */

import { type Buckets, byBucket, everywhere } from './redis-buckets.ts'
import { integer, list, type Reply, type Run, text, textOrNull, toMicros } from './redis-scripts.ts'
import { byLatest, isAbout } from './rows.ts'
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

/** So many messages are looked through for an id or a session. */
const LOOKED_THROUGH = 10_000

/** What is held now, the longest held first. Reads all that is held, which is as much as the bots have in hand. */
export async function listSessions(buckets: Buckets, filter: SessionFilter): Promise<SessionRow[]> {
  const rows = filter.keys ? await rowsOf(buckets, filter.keys) : await heldRows(buckets)
  return rows
    .filter((row) => filter.stale === undefined || row.stale === filter.stale)
    .sort((a, b) => a.lockedAt - b.lockedAt)
    .slice(0, filter.limit)
}

/** Without those that were released by force. */
async function heldRows(buckets: Buckets): Promise<SessionRow[]> {
  return (await allRows(buckets)).filter(({ owner }) => owner !== null)
}

async function rowsOf(buckets: Buckets, keys: readonly string[]): Promise<SessionRow[]> {
  const found = [...byBucket(keys, buckets.of)].map(([bucket, some]) => rowsAt(buckets.in(bucket), some))
  return (await Promise.all(found)).flat()
}

async function allRows(buckets: Buckets): Promise<SessionRow[]> {
  const found = await everywhere(buckets, async (run) => rowsAt(run, (await run('held', [])).map(text)))
  return found.flat()
}

/** The rows under these keys in one bucket, those that are there. */
export async function rowsAt(run: Run, keys: readonly string[]): Promise<SessionRow[]> {
  return (await readByKey(run, 'rows', keys)).map(sessionRow)
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
    strategy: 'lease',
  }
}

/** What has happened, the latest first. */
export async function listMessages(buckets: Buckets, filter: MessageFilter): Promise<MessageRow[]> {
  const { keys } = filter
  // A key alone does not tell where a message is at home.
  const found = keys
    ? await everywhere(buckets, (run) => readByKey(run, 'messages', keys))
    : await Promise.all(
        [...(await latest(buckets, withRoom(filter)))].map(([bucket, some]) => messagesAt(buckets, bucket, some)),
      )
  return found
    .flat()
    .map(messageRow)
    .filter((row) => filter.status === undefined || row.status === filter.status)
    .filter((row) => filter.messageIds === undefined || filter.messageIds.includes(row.messageId))
    .filter((row) => filter.about === undefined || isAbout(row, filter.about))
    .sort(byLatest)
    .slice(0, filter.limit)
}

/** What no set is ordered by is looked for among the latest. */
function withRoom(filter: MessageFilter): MessageFilter {
  return filter.messageIds || filter.about ? { ...filter, limit: Math.max(filter.limit, LOOKED_THROUGH) } : filter
}

interface Latest {
  readonly bucket: number
  readonly key: string
  readonly finishedAt: number
}

function messagesAt(buckets: Buckets, bucket: number, found: readonly Latest[]): Promise<Reply[]> {
  return readByKey(
    buckets.in(bucket),
    'messages',
    found.map(({ key }) => key),
  )
}

async function latest(buckets: Buckets, { limit, status }: MessageFilter): Promise<Map<number, Latest[]>> {
  const replies = await everywhere(buckets, (run) => run('latest', [limit, status ?? '']))
  const found: Latest[] = []
  for (const [bucket, reply] of replies.entries()) {
    for (let index = 0; index < reply.length; index += 2) {
      found.push({ bucket, key: text(reply[index]), finishedAt: integer(reply[index + 1]) })
    }
  }
  found.sort((a, b) => b.finishedAt - a.finishedAt)
  return byBucket(found.slice(0, limit), ({ bucket }) => bucket)
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
    receivedAt: null,
    startedAt: null,
    finishedAt: milliseconds(finishedAt),
    expiresAt: milliseconds(finishedAt) + integer(retentionMs),
  }
}

/** Counts both; messages without reading them. */
export async function countRows(buckets: Buckets): Promise<StoreStats> {
  const rows = await heldRows(buckets)
  const nodes = new Map<string, { nodeId: string; sessions: number; stale: number }>()
  for (const { nodeId, stale } of rows) {
    if (nodeId === null) continue
    const node = nodes.get(nodeId) ?? { nodeId, sessions: 0, stale: 0 }
    nodes.set(nodeId, { nodeId, sessions: node.sessions + 1, stale: node.stale + (stale ? 1 : 0) })
  }
  const messages: Record<MessageStatus, number> = { queued: 0, processing: 0, completed: 0, failed: 0, dead: 0 }
  const counts = (await everywhere(buckets, (run) => run('counts', []))).flat()
  for (let index = 0; index < counts.length; index += 2) {
    messages[text(counts[index]) as MessageStatus] += integer(counts[index + 1])
  }
  const staleSessions = rows.filter((row) => row.stale).length
  return { sessions: rows.length, staleSessions, messages, nodes: [...nodes.values()] }
}

/** Removes abandoned rows and what is left of expired messages. */
export async function cleanUp(buckets: Buckets, { abandonedAfterMs, limit }: CleanupOptions): Promise<CleanupReport> {
  const removed = { messages: 0, sessions: 0 }
  const left = { messages: limit, sessions: limit }
  for (let bucket = 0; bucket < buckets.count; bucket++) {
    const values = [toMicros(abandonedAfterMs), left.sessions, left.messages]
    const [messages, sessions, found] = await buckets.in(bucket)('cleanup', values)
    removed.messages += integer(messages)
    removed.sessions += integer(sessions)
    left.messages -= integer(found)
    left.sessions -= integer(sessions)
  }
  return { ...removed, more: left.messages === 0 || left.sessions === 0 }
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
