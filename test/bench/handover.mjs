/**
 * How long a contended session takes to change hands: from the end of one handler to the beginning of the next.
 *
 *   npm run bench:handover -- --rounds 5 --seconds 5 --hold 50 --waiters 2 --stores redis,postgres,mysql,sqlite
 *
 * In each round, for each store: two processes that both want one session all the time; one process alone; and for
 * comparison two processes that pass a turn to each other with nothing but the database (handover-bare.mjs). What
 * is counted for two processes is hand-overs from one to the other. It ends with exit code 1 where two had the
 * session at once, or one process had less than 30 % of the turns.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { inWorkshop, percentile, printTable, wholeNumber } from './workshop.mjs'

const LEAST_SHARE = 0.3

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    hold: { type: 'string', default: '50' },
    waiters: { type: 'string', default: '2' },
    stores: { type: 'string', default: 'redis,postgres,mysql,sqlite' },
  },
})
const settings = Object.fromEntries(
  ['rounds', 'seconds', 'hold', 'waiters'].map((name) => [name, wholeNumber(values, name)]),
)

await inWorkshop(values.stores.split(','), async ({ urls, spawnNode }) => {
  const lines = [
    ['', 'two processes p50', 'p99', 'bare p50', 'p99', 'one process p50', 'p99', 'of it ours p50', 'turns'],
  ]
  for (const [store, url] of Object.entries(urls)) lines.push(await measureStore(store, url, spawnNode))
  const { rounds, seconds, hold, waiters } = settings
  printTable(
    `hand-over in ms, ${rounds} rounds of ${seconds} s, holds of ${hold} ms, ${waiters} waiters a process`,
    lines,
  )
})

async function measureStore(store, url, spawnNode) {
  const start = (script, options) => spawnNode(new URL(script, import.meta.url), [JSON.stringify(options)])
  const nodes = ['a', 'b'].map((nodeId) =>
    start('handover-node.mjs', { store: url, tablePrefix: 'bench_handover_', nodeId }),
  )
  const bare = [
    start('handover-bare.mjs', { url, me: 'a', other: 'b', table: 'bench_handover_bare' }),
    start('handover-bare.mjs', { url, me: 'b', other: 'a', table: 'bench_handover_bare' }),
  ]
  try {
    await Promise.all([...nodes, ...bare].map((node) => node.waitForLine(/^ready$/)))
    const found = { over: [], bare: [], alone: [], ours: [], had: [0, 0] }
    for (let round = 1; round <= settings.rounds; round += 1) {
      process.stderr.write(`${store}: round ${round} of ${settings.rounds}\n`)
      const together = await run(nodes)
      found.over.push(
        ...handOvers(together)
          .filter((each) => each.from !== each.to)
          .map(({ ms }) => ms),
      )
      for (const [index, { turns }] of together.entries()) found.had[index] += turns.length
      found.bare.push(...handOvers(await run(bare)).map(({ ms }) => ms))
      const alone = await run(nodes.slice(0, 1))
      for (const each of handOvers(alone)) {
        found.alone.push(each.ms)
        found.ours.push(each.ms - timeWithin(alone[0].calls, each))
      }
    }
    return lineOf(store, found)
  } finally {
    for (const node of [...nodes, ...bare]) node.kill('SIGKILL')
    await Promise.all([...nodes, ...bare].map((node) => node.exited))
  }
}

async function run(nodes) {
  for (const [index, node] of nodes.entries()) {
    node.send(JSON.stringify({ waiters: settings.waiters, holdMs: settings.hold, begin: index === 0 }))
  }
  const before = nodes.map((node) => node.lines.length)
  await sleep(settings.seconds * 1000)
  for (const node of nodes) node.send(JSON.stringify({ stop: true }))
  const calls = await Promise.all(nodes.map((node) => node.waitForLine(/^stopped (.*)$/)))
  return nodes.map((node, index) => ({
    turns: node.lines.slice(before[index]).flatMap((line) => {
      const [, from, until] = /^turn (\S+) (\S+)$/.exec(line) ?? []
      return from ? [[Number(from), Number(until)]] : []
    }),
    calls: JSON.parse(calls[index][1]),
  }))
}

/** From each turn to the one after it. */
function handOvers(nodes) {
  const turns = nodes.flatMap((node, index) => node.turns.map(([from, until]) => ({ index, from, until })))
  turns.sort((a, b) => a.from - b.from)
  return turns.slice(1).map((turn, index) => {
    const before = turns[index]
    const ms = turn.from - before.until
    if (ms < 0) {
      console.error(`two had the session at once, for ${-ms} ms`)
      process.exitCode = 1
    }
    return { ms, from: before.index, to: turn.index, begin: before.until, end: turn.from }
  })
}

/** How much of a hand-over the store was being asked for. */
function timeWithin(calls, { begin, end }) {
  return calls.reduce((sum, [from, until]) => sum + Math.max(0, Math.min(until, end) - Math.max(from, begin)), 0)
}

function lineOf(store, { over, bare, alone, ours, had }) {
  const share = Math.min(...had) / (had[0] + had[1])
  if (share < LEAST_SHARE) process.exitCode = 1
  const both = (numbers) => [percentile(numbers, 0.5), percentile(numbers, 0.99)].map((ms) => ms.toFixed(2))
  const shares = had.map((turns) => `${((100 * turns) / (had[0] + had[1])).toFixed(0)} %`).join(' : ')
  return [store, ...both(over), ...both(bare), ...both(alone), percentile(ours, 0.5).toFixed(2), shares]
}
