/** The table of the inbox's benchmark. */
import { availableParallelism } from 'node:os'

const COLUMNS = [
  ['messages/s', (runs) => median(runs.map(({ rate }) => rate)).toFixed(0)],
  ['(spread)', (runs) => `${least(runs, 'rate')}–${most(runs, 'rate')}`],
  ['received/s', (runs) => median(runs.map(({ receiveRate }) => receiveRate)).toFixed(0)],
  ['µs each', (runs) => median(runs.map(({ microsEach }) => microsEach)).toFixed(0)],
  ['CPU µs: Node', (runs) => median(runs.map(({ nodeMicros }) => nodeMicros)).toFixed(0)],
  ['database', (runs) => median(runs.map(({ databaseMicros }) => databaseMicros)).toFixed(0)],
]

/** The title and the columns' names. */
export function printHead(title) {
  console.log(`\n${title}; Node ${process.versions.node}, ${availableParallelism()} cores\n`)
  console.log([''.padEnd(18), ...COLUMNS.map(([name]) => name.padStart(13))].join(' '))
}

/** One line: the medians of these runs. */
export function print(name, runs) {
  console.log([name.padEnd(18), ...COLUMNS.map(([, show]) => show(runs).padStart(13))].join(' '))
}

function least(runs, field) {
  return Math.min(...runs.map((run) => run[field])).toFixed(0)
}

function most(runs, field) {
  return Math.max(...runs.map((run) => run[field])).toFixed(0)
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}
