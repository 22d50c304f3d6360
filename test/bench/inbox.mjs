/**
 * What the inbox handles: from the receipt of a message to its completion, with a handler that does nothing. Others'
 * queues, each with a queue of its own for each session, take turns with it on the same Postgres.
 *
 *   npm run bench:inbox                                    # against pg-boss and graphile-worker, 1000 sessions
 *   npm run bench:inbox -- --rounds 5 --messages 10000 --queues session-lock,pg-boss
 *   npm run bench:inbox -- --scale                         # ours alone, with 10, 1000 and 100 000 sessions
 *
 * The server is a throwaway one of our own, or that of TEST_POSTGRES_URL. It ends with exit code 1 where a bar is missed:
 * three times the throughput of the others, and at most 1.5 times the cost of a message from 10 to 100 000 sessions.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { median, print, printHead } from './inbox-report.mjs'
import { openTestTools } from './workshop.mjs'

const OURS = 'session-lock'
const LEAST_GAIN = 3
const MOST_GROWTH = 1.5
/** A Linux tick, in which the CPU time of processes is told. */
const TICK_MS = 10

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    messages: { type: 'string' },
    sessions: { type: 'string' },
    receivers: { type: 'string', default: '64' },
    queues: { type: 'string', default: 'session-lock,pg-boss,graphile-worker' },
    scale: { type: 'boolean', default: false },
  },
})
const rounds = Number(values.rounds)
const receivers = Number(values.receivers)

const vite = await openTestTools()
const { spawnNode } = await vite.ssrLoadModule('/test/processes/spawn-node.ts')
const { startPostgres } = await vite.ssrLoadModule('/test/servers/postgres.ts')

// The test server does not keep this process alive, not even while it is being stopped.
const alive = setInterval(() => {}, 1000)
const ownUrl = process.env['TEST_POSTGRES_URL']
const postgres = ownUrl ? undefined : await startPostgres()
const url = ownUrl ?? postgres.url
try {
  const met = values.scale ? await scale() : await compare()
  if (!met) process.exitCode = 1
} finally {
  await postgres?.stop()
  await vite.close()
  clearInterval(alive)
}

/** All processes stand all the time, and take turns. The first round warms up and does not count. */
async function compare() {
  const messages = Number(values.messages ?? 5000)
  const sessions = Number(values.sessions ?? 1000)
  const names = values.queues.split(',')
  const nodes = []
  const results = names.map((name) => ({ name, runs: [] }))
  for (const name of names) nodes.push(await start({ queue: name, url, tablePrefix: 'bench_' }))
  for (let round = 0; round <= rounds; round += 1) {
    process.stderr.write(round === 0 ? 'warming up\n' : `round ${round} of ${rounds}\n`)
    for (let turn = 0; turn < names.length; turn += 1) {
      const index = (turn + round) % names.length
      const run = await measure(nodes[index], { messages, sessions, receivers })
      if (round > 0) results[index].runs.push(run)
    }
  }
  await stop(nodes)
  printHead(`${rounds} rounds of ${messages} messages of ${sessions} sessions; medians; ${receivers} receivers`)
  for (const { name, runs } of results) print(name, runs)
  const rate = ({ seconds }) => messages / seconds
  const ours = results.find(({ name }) => name === OURS)?.runs
  const others = results.filter(({ name }) => name !== OURS)
  if (!ours || others.length === 0) return true
  // Within a round, where all met the same machine.
  const gains = others.map(({ name, runs }) => ({
    name,
    gain: median(runs.map((run, round) => rate(ours[round]) / rate(run))),
  }))
  for (const { name, gain } of gains) {
    console.log(`${gain.toFixed(1)} times ${name}; at least ${LEAST_GAIN}: ${gain >= LEAST_GAIN ? 'yes' : 'NO'}`)
  }
  return gains.every(({ gain }) => gain >= LEAST_GAIN)
}

/** Each number of sessions on tables of its own. */
async function scale() {
  const messages = Number(values.messages ?? 100_000)
  const counts = (values.sessions ?? '10,1000,100000').split(',').map(Number)
  const results = counts.map((sessions) => ({ sessions, runs: [] }))
  for (let round = 1; round <= rounds; round += 1) {
    for (const { sessions, runs } of results) {
      process.stderr.write(`round ${round} of ${rounds}, ${sessions} sessions\n`)
      const node = await start({ queue: OURS, url, tablePrefix: `scale_${round}_${sessions}_` })
      await measure(node, { messages: 2000, sessions: 100, receivers })
      runs.push(await measure(node, { messages, sessions, receivers }))
      await stop([node])
    }
  }
  printHead(`${rounds} rounds of ${messages} messages; medians; ${receivers} receivers`)
  for (const { sessions, runs } of results) print(`${sessions} sessions`, runs)
  const cost = ({ runs }) => median(runs.map(({ seconds }) => seconds))
  const growth = cost(results.at(-1)) / cost(results[0])
  const met = growth <= MOST_GROWTH
  console.log(
    `a message costs ${growth.toFixed(2)} times as much with ${counts.at(-1)} sessions as with ${counts[0]}; ` +
      `at most ${MOST_GROWTH}: ${met ? 'yes' : 'NO'}`,
  )
  return met
}

async function start(settings) {
  const node = spawnNode(new URL('inbox-node.mjs', import.meta.url), [JSON.stringify(settings)])
  await node.waitForLine(/^ready$/, 60_000)
  return node
}

async function stop(nodes) {
  for (const node of nodes) node.kill('SIGTERM')
  await Promise.all(nodes.map((node) => node.exited))
}

async function measure(node, order) {
  const before = databaseCpuMs()
  node.send(JSON.stringify(order))
  const [line] = await node.waitForLine(/^\{.*\}$/, 600_000)
  const { seconds, receivedSeconds, cpuMs, disorders } = JSON.parse(line)
  if (disorders > 0) throw new Error(`${disorders} messages were handled out of order`)
  const of = (milliseconds) => (milliseconds * 1000) / order.messages
  return {
    seconds,
    rate: order.messages / seconds,
    microsEach: of(seconds * 1000),
    receiveRate: order.messages / receivedSeconds,
    nodeMicros: of(cpuMs),
    databaseMicros: of(databaseCpuMs() - before),
  }
}

/** Of the server and all its children so far; what ended ones used is in their parent's account. */
function databaseCpuMs() {
  const server = postgres?.pid()
  if (server === undefined || process.platform !== 'linux') return Number.NaN
  let ticks = 0
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      const fields = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ')[1].split(' ')
      const [parent, user, system, endedUser, endedSystem] = [1, 11, 12, 13, 14].map((index) => Number(fields[index]))
      if (Number(name) === server) ticks += user + system + endedUser + endedSystem
      else if (parent === server) ticks += user + system
    } catch {
      // It has just ended.
    }
  }
  return ticks * TICK_MS
}
