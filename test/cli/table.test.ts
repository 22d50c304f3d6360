import { expect, onTestFinished, test } from 'vitest'
import { durationOf } from '../../src/cli/duration.ts'
import { formatMessages } from '../../src/cli/message-table.ts'
import { formatSessions } from '../../src/cli/session-table.ts'
import { formatTable } from '../../src/cli/table.ts'
import { formatDuration } from '../../src/engine/duration.ts'
import { createSessionLock } from '../../src/index.ts'
import type { MessageRow } from '../../src/store/store.ts'

const columns = [
  { title: 'ID', least: 5 },
  { title: 'NODE', least: 4 },
  { title: 'TOKEN', align: 'right' as const },
]
const rows = [
  ['wamid.0123456789', 'node-a', '17'],
  ['x', 'b', '123456'],
]

test('a table is as wide as its cells', () => {
  expect(formatTable(columns, rows).split('\n')).toEqual([
    'ID                NODE     TOKEN',
    'wamid.0123456789  node-a      17',
    'x                 b       123456',
  ])
})

test('a table fits the terminal: the widest cells lose their middle, others stay whole', () => {
  const lines = formatTable(columns, rows, 25).split('\n')
  expect(lines).toEqual(['ID         NODE     TOKEN', 'wami…6789  node-a      17', 'x          b       123456'])
  expect(
    Math.max(
      ...formatTable(columns, rows, 3)
        .split('\n')
        .map((line) => line.length),
    ),
  ).toBe(5 + 2 + 4 + 2 + 6)
})

test('a table may have any number of rows', () => {
  const many = Array.from({ length: 200_000 }, () => ['x'])
  expect(formatTable([{ title: 'ID' }], many)).toHaveLength(2 + 200_000 * 2)
  const row = { messageId: 'm', provider: 'p', sessionKey: null, status: 'queued', nodeId: null } as const
  const rest = { attempts: 0, finishedAt: null, lastError: null }
  const messages = many.map(() => ({ ...row, ...rest }) as unknown as MessageRow)
  expect(formatMessages(messages).split('\n')).toHaveLength(1 + 200_000)
})

test('a column that may go is left out of a terminal that is too narrow for it', () => {
  const some = columns.map((column) => ({ ...column, mayGo: column.title === 'TOKEN' }))
  expect(formatTable(some, rows, 19).split('\n')[0]).toBe('ID     NODE   TOKEN')
  expect(formatTable(some, rows, 18).split('\n')).toEqual(['ID          NODE', 'wami…56789  node-a', 'x           b'])
})

test('sessions fit a terminal of 80 columns', async () => {
  const lock = createSessionLock({ store: 'memory:', logger: false, nodeId: 'web-2-4711-lq3x9k2m' })
  const key = {
    messageId: 'wamid.HBgLMTU1NTAwMDIyMjIVAgASGBQzQTAx',
    prospect: '15550002222',
    device: '100000000000001',
  }
  const held = await lock.run(key, async () => lock.sessions())
  if (held.status !== 'processed') throw new Error(held.status)
  const long = held.value.map((session) => ({ ...session, lockedAt: session.lockedAt - 7_800_000, contended: true }))
  Object.defineProperty(process.stdout, 'columns', { value: 80, configurable: true })
  onTestFinished(() => void Reflect.deleteProperty(process.stdout, 'columns'))
  for (const line of formatSessions(long).split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  await lock.close()
})

test('what strangers write cannot move the cursor or break a line', () => {
  expect(formatTable([{ title: 'ID' }], [['a\u001b[2J\nb\u202e']])).toBe('ID\na\ufffd[2J\ufffdb\ufffd')
})

test('durations', () => {
  const shown = [-5, 0, 449, 9_999, 59_999, 185_000, 7_800_000, 356_400_000].map(formatDuration)
  expect(shown).toEqual(['0.0s', '0.0s', '0.4s', '9.9s', '59s', '3m 05s', '2h 10m', '4d 03h'])
})

test('a duration is read as people write it', () => {
  const texts = ['30s', '5m', '2h', '1d']
  expect(texts.map((text) => durationOf('since', text))).toEqual([30_000, 300_000, 7_200_000, 86_400_000])
  expect(durationOf('since', undefined)).toBeUndefined()
  for (const text of ['5', 'm', '-5m', '5 m', '1.5h']) {
    expect(() => durationOf('since', text)).toThrow('--since takes a duration like 30s, 5m, 2h or 1d')
  }
})
