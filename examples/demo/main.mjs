/**
 * The demo: two processes of a bot behind a sender that behaves like Meta, on one SQLite file.
 *
 *     npm run demo                       with session-lock in front of the handler
 *     npm run demo -- --unprotected      the same traffic, the same bot, without it
 *     npm run demo -- --seed 42          other traffic, the same at each run
 *
 * Ends with code 0 only if every message was handled, none twice (but for those in whose handler a node
 * was killed), and never two of one person at the same time.
 */
import { randomBytes, randomInt } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { judge, openJournal, readJournal } from './journal.mjs'
import { startNode } from './nodes.mjs'
import { createProvider } from './provider.mjs'
import { printTable, printVerdict, showProgress } from './report.mjs'
import { planTraffic } from './traffic.mjs'

const KILLED_AFTER_MS = 400
const DOWN_FOR_MS = 800
/** By then all has long been delivered, or something is wrong. */
const TIME_LIMIT_MS = 60_000

const { seed, isProtected } = readArguments()
const directory = mkdtempSync(join(tmpdir(), 'session-lock-demo-'))
const journalPath = join(directory, 'journal.jsonl')
const logPath = join(directory, 'bot.log')
const appSecret = randomBytes(16).toString('hex')
const startedAt = performance.now()
const nodes = []
endWithSignals()

try {
  process.exitCode = await run()
} catch (error) {
  for (const node of nodes) node.abandon()
  console.error(`\nThe demo failed: ${error.message}\nIts files are in ${directory}`)
  process.exitCode = 1
}

async function run() {
  const { messages, deliveries, victim } = planTraffic(seed)
  writeFileSync(journalPath, '')
  const [a, b] = await Promise.all([start('node-a'), start('node-b')])
  nodes.push(a, b)
  const intro = isProtected ? 'with session-lock' : 'WITHOUT session-lock'
  console.log(`A bot ${intro}: ${messages.length} messages, two processes, one SQLite file. Seed ${seed}.`)

  const trafficAt = performance.now()
  const elapsedMs = () => performance.now() - trafficAt
  const provider = createProvider({ nodes, appSecret, seed, isOver: () => elapsedMs() > TIME_LIMIT_MS })
  const progress = showProgress(() => describe(elapsedMs(), provider.counts, messages.length))
  const whole = deliveries.map(async (delivery, number) => {
    await sleep(Math.max(0, delivery.atMs - elapsedMs()))
    await provider.deliver(delivery, number)
  })
  const [killed] = await Promise.all([killInTheMiddleOf(victim, progress.say), ...whole])
  // A handler whose provider has gone away may still be at work.
  const areClean = await Promise.all(nodes.map((node) => node.stop()))
  progress.stop()
  return conclude({ messages, provider, killed, areClean: areClean.every(Boolean) })
}

function start(node) {
  const store = `sqlite:${join(directory, 'bot.db')}`
  return startNode({ node, store, appSecret, journalPath, logPath, isProtected })
}

/** Kills the node that handles the message, halfway through, and starts another in its place. Resolves to whether it could. */
async function killInTheMiddleOf({ id }, say) {
  const isStart = ({ what, id: started }) => what === 'start' && started === id
  let found
  while (!found && performance.now() - startedAt < TIME_LIMIT_MS) {
    await sleep(50)
    found = readJournal(journalPath).find(isStart)
  }
  const at = nodes.findIndex(({ pid }) => pid === found?.pid)
  if (at < 0) return false
  await sleep(KILLED_AFTER_MS)
  const { name, pid, kill } = nodes[at]
  await kill()
  openJournal(journalPath, 'sender')('killed', { killedPid: pid, killedNode: name })
  say(`SIGKILL to ${name} in the middle of a handler`)
  await sleep(DOWN_FOR_MS)
  nodes[at] = await start(`${name}-again`)
  say(`${nodes[at].name} has started in its place`)
  return true
}

function describe(elapsedMs, { deliveries, duplicates, inFlight, busy }, messages) {
  const ended = readJournal(journalPath).filter(({ what }) => what === 'end')
  const handled = new Set(ended.map(({ id }) => id)).size
  const time = `${(elapsedMs / 1000).toFixed(1)} s`.padStart(7)
  return `${time}  ${handled} of ${messages} messages handled, ${deliveries} deliveries, ${duplicates + inFlight} duplicates refused, ${busy} busy`
}

/** Prints what came out, tidies up unless somebody will want to look, and resolves to the exit code. */
function conclude({ messages, provider, killed, areClean }) {
  const judged = judge(readJournal(journalPath), messages)
  const isGood = judged.handledTwice + judged.overlapping + judged.lost === 0
  const problems = []
  if (isProtected && !isGood) problems.push('a promise was broken')
  if (judged.lost > 0 && !isProtected) problems.push('messages were lost')
  if (provider.unaccepted() > 0) problems.push(`${provider.unaccepted()} deliveries were never accepted`)
  if (!killed) problems.push('no node was killed in the middle of a handler, so nothing was proved about that')
  if (!areClean) problems.push('a node did not end by itself')
  printTable(judged, provider.counts)
  printVerdict({ judged, isGood, isProtected })
  if (problems.length > 0)
    console.log(`Something went wrong: ${problems.join('; ')}.\nBot's log: ${logPath}\nJournal:   ${journalPath}`)
  else rmSync(directory, { recursive: true, force: true })
  return isGood && problems.length === 0 ? 0 : 1
}

function readArguments() {
  const options = { unprotected: { type: 'boolean' }, seed: { type: 'string' } }
  const usage = 'Usage: npm run demo -- [--unprotected] [--seed NUMBER]'
  try {
    const { values } = parseArgs({ options })
    const seed = values.seed === undefined ? randomInt(1, 1_000_000) : Number(values.seed)
    if (Number.isSafeInteger(seed) && seed >= 0) return { seed, isProtected: values.unprotected !== true }
    console.error(`--seed takes a whole number.\n${usage}`)
  } catch (error) {
    console.error(`${error.message}\n${usage}`)
  }
  process.exit(2)
}

/** Ctrl-C and its kind: nothing stays behind. */
function endWithSignals() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => {
      for (const node of nodes) node.abandon()
      rmSync(directory, { recursive: true, force: true })
      process.exit(128 + constants.signals[signal])
    })
  }
}
