/** What the run has shown. */
import { availableParallelism } from 'node:os'
import { BARE, BATCHES_OF_ONE, GROUP_COMMIT } from './variants.mjs'

/** What group commit must show, at 64 connections. */
const MOST_COMMITS_PER_OPERATION = 1 / 4
const LEAST_GAIN = 2

/** The medians of each variant. Ratios are taken within a round, where both met the same machine. */
export function summarize(variants, rounds) {
  return variants.map(({ name, commits }) => {
    const all = (field) => rounds.map((round) => round[name][field])
    const toBare = rounds.map((round) => round[name].deliveriesPerSecond / round[BARE.name].deliveriesPerSecond)
    return {
      name,
      deliveriesPerSecond: median(all('deliveriesPerSecond')),
      ofBare: spread(toBare),
      p50Ms: median(all('p50Ms')),
      p99Ms: median(all('p99Ms')),
      cpuMicrosPerDelivery: median(all('cpuMicrosPerDelivery')),
      ...(commits && { commitsPerOperation: median(all('commitsPerOperation')) }),
      ...(name === GROUP_COMMIT && { gain: spread(gains(rounds)) }),
    }
  })
}

function gains(rounds) {
  return rounds.map((round) => round[GROUP_COMMIT].deliveriesPerSecond / round[BATCHES_OF_ONE].deliveriesPerSecond)
}

function spread(numbers) {
  return { median: median(numbers), least: Math.min(...numbers), most: Math.max(...numbers) }
}

function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

const COLUMNS = [
  ['', ({ name }) => name],
  ['deliveries/s', ({ deliveriesPerSecond }) => deliveriesPerSecond.toFixed(0)],
  ['of bare', ({ ofBare }) => ofBare.median.toFixed(2)],
  ['(spread)', ({ ofBare }) => `${ofBare.least.toFixed(2)}–${ofBare.most.toFixed(2)}`],
  ['p50 ms', ({ p50Ms }) => p50Ms.toFixed(1)],
  ['p99 ms', ({ p99Ms }) => p99Ms.toFixed(1)],
  ['CPU µs/delivery', ({ cpuMicrosPerDelivery }) => cpuMicrosPerDelivery.toFixed(0)],
  ['commits/operation', ({ commitsPerOperation }) => commitsPerOperation?.toFixed(3) ?? ''],
]

/** Prints the table and what it must show; returns whether it does. */
export function print(summary, { rounds, seconds, connections }) {
  const cells = [COLUMNS.map(([title]) => title), ...summary.map((row) => COLUMNS.map(([, show]) => show(row)))]
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map((row) => row[column].length)))
  const pad = (text, column) => (column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column]))
  const place = `Node ${process.versions.node}, ${availableParallelism()} cores`
  console.log(`\n${rounds} rounds of ${seconds} s, ${connections} connections, ${place}; medians\n`)
  for (const row of cells) console.log(row.map(pad).join('  '))
  const group = summary.find(({ name }) => name === GROUP_COMMIT)
  return group ? printGroupCommit(group) : true
}

function printGroupCommit({ commitsPerOperation, gain }) {
  const few = commitsPerOperation < MOST_COMMITS_PER_OPERATION
  const fast = gain.median >= LEAST_GAIN
  const times = `${gain.median.toFixed(2)} times (${gain.least.toFixed(2)}–${gain.most.toFixed(2)})`
  const verdict = (met) => (met ? 'yes' : 'NO')
  console.log(`
group commit on MySQL or MariaDB, an operation being a claim or a settlement:
  one commit for ${(1 / commitsPerOperation).toFixed(1)} operations; at least ${1 / MOST_COMMITS_PER_OPERATION}: ${verdict(few)}
  ${times} the throughput of batches of one; at least ${LEAST_GAIN} times: ${verdict(fast)}`)
  return few && fast
}
