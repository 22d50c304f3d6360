/** The table of messages that several commands print. */

import { formatDuration } from '../engine/duration.ts'
import { sessionNameOf } from '../engine/inspection.ts'
import type { MessageRow } from '../store/store.ts'
import { type Column, formatTable } from './table.ts'

const COLUMNS: readonly Column[] = [
  { title: 'MESSAGE', least: 8 },
  { title: 'SESSION', least: 8 },
  { title: 'PROVIDER', least: 8 },
  { title: 'STATUS', colour: (cell) => (cell === 'dead' ? 'red' : cell === 'failed' ? 'yellow' : undefined) },
  { title: 'NODE', least: 6 },
  { title: 'TRIES', align: 'right' },
  { title: 'FINISHED', align: 'right' },
  { title: 'ERROR', least: 12 },
]

/** One line a message, as wide as the terminal. */
export function formatMessages(messages: readonly MessageRow[]): string {
  const now = messages.reduce((latest, { finishedAt }) => Math.max(latest, finishedAt ?? 0), Date.now())
  const cells = messages.map((row) => [
    row.messageId,
    sessionNameOf(row) ?? '-',
    row.provider,
    row.status,
    row.nodeId ?? '-',
    String(row.attempts),
    row.finishedAt === null ? '-' : `${formatDuration(now - row.finishedAt)} ago`,
    row.lastError ?? '',
  ])
  return formatTable(COLUMNS, cells, process.stdout.columns)
}
