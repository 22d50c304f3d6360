/** The table of sessions that several commands print. */

import { formatDuration } from '../engine/duration.ts'
import { type SessionInfo, storeTime } from '../engine/inspection.ts'
import { type Column, formatTable } from './table.ts'

const COLUMNS: readonly Column[] = [
  { title: 'PROSPECT', least: 8 },
  { title: 'DEVICE', least: 6 },
  { title: 'MESSAGES', least: 8 },
  { title: 'NODE', least: 6 },
  { title: 'HELD FOR', align: 'right' },
  { title: 'RENEWED', align: 'right' },
  { title: 'EXPIRES', align: 'right', colour: (cell) => (cell === 'stale' ? 'red' : undefined) },
  { title: 'TOKEN', align: 'right', mayGo: true },
  { title: 'CONTENDED' },
]

/** One line a session, as wide as the terminal, or 80 columns where it is narrower than that. */
export function formatSessions(sessions: readonly SessionInfo[]): string {
  const now = storeTime(sessions, Date.now())
  const cells = sessions.map((session) => [
    session.prospect ?? '-',
    session.device ?? '-',
    session.messageIds.join(', ') || '-',
    session.nodeId ?? '-',
    formatDuration(now - session.lockedAt),
    `${formatDuration(now - session.renewedAt)} ago`,
    session.stale ? 'stale' : `in ${formatDuration(session.expiresAt - now)}`,
    String(session.fencingToken),
    session.contended ? 'yes' : '',
  ])
  return formatTable(COLUMNS, cells, process.stdout.columns)
}

/** Who a session is, for a sentence. */
export function nameOf({ prospect, device, key }: SessionInfo): string {
  return prospect === null ? key : device === null ? prospect : `${prospect} (device ${device})`
}
