/**
 * Real nodes over a real store, and every second something bad: a node is killed or stopped, a connection cut, delayed
 * or left half open, the database stopped or killed. Afterwards a checker that shares no code with the engine judges
 * what happened.
 *
 *   npm run faults -- --minutes 30 --seed 7 --store postgres
 */
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { seededRandom } from '../../dist/testing/waiting.js'
import { openTestTools } from '../bench/workshop.mjs'
import { openWorld } from './world.mjs'

const NODES = 4
const SESSIONS = 24
const SENDERS = 16
const DUPLICATES = 0.3
const STALE_AFTER_MS = 2000
const FAULT_EVERY_MS = 800
/** Nobody waits longer for an answer. */
const MOST_MS = 15_000
/** Who asks whether the store is back asks again so soon. */
const PROBE_MS = 1000

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    store: { type: 'string', default: 'sqlite' },
    // How long after the store's return somebody must be served. Longer where the machine has other work.
    'back-within': { type: 'string', default: String(MOST_MS) },
  },
})
const random = seededRandom(Number(values.seed))
const upTo = (most) => Math.floor(random() * most)
const now = () => Number(process.hrtime.bigint()) / 1e6

const vite = await openTestTools()
// The servers do not keep this process alive, not even while they are being stopped.
const alive = setInterval(() => {}, 1000)
const { judge } = await vite.ssrLoadModule('/test/faults/checker.ts')
const world = await openWorld(vite, values.store)
const journal = join(world.directory, 'journal.jsonl')
const write = (line) => appendFileSync(journal, `${JSON.stringify({ at: now(), ...line })}\n`)
const complaints = []
const counts = { kills: 0, pauses: 0, store: 0, deliveries: 0 }
/** By kind of fault: how often it was, and after how long somebody was served again. */
const seen = new Map()
const nodes = Array.from({ length: NODES }, () => undefined)
let isOver = false
let numbers = 0
let probes = 0

async function start(place) {
  const options = { store: world.url, tablePrefix: 'faults_', staleAfterMs: STALE_AFTER_MS, lockWaitMs: 1000 }
  const settings = JSON.stringify({ options, journal, longMs: STALE_AFTER_MS })
  const node = world.spawnNode(new URL('bot.mjs', import.meta.url), [settings])
  const started = { process: node, port: 0, isStopped: false, isKilled: false, pausedMs: 0, upSince: 0, isWarm: false }
  void node.exited.then(({ code, signal }) => {
    if (!started.isKilled) complaints.push(`a node ended by itself (${code ?? signal}): ${node.stderr()} ${node.lines}`)
    if (nodes[place] === started) nodes[place] = undefined
    if (!isOver) void startAgain(place)
  })
  started.port = Number((await node.waitForLine(/^listening (\d+)/, 60_000))[1])
  started.upSince = now()
  nodes[place] = started
}

/** One that ends before it listens is complained of, and started once more, by its exit. */
async function startAgain(place) {
  await start(place).catch(() => undefined)
}

function kill(node) {
  node.isKilled = true
  write({ what: 'killed', pid: node.process.pid })
  node.process.kill('SIGKILL')
  counts.kills += 1
}

async function pause(node, forMs) {
  const { pid } = node.process
  node.isStopped = true
  write({ what: 'paused', pid })
  node.process.kill('SIGSTOP')
  counts.pauses += 1
  const pausedAt = now()
  await sleep(forMs)
  node.pausedMs += now() - pausedAt
  node.process.kill('SIGCONT')
  write({ what: 'resumed', pid })
  node.isStopped = false
  node.upSince = now()
}

/** The store is out of order, and then back: how long until somebody new is served? */
async function disturb(fault) {
  const at = now()
  counts.store += 1
  await fault.run(300 + random() * 1500)
  write({ what: 'outage', at, until: now() + 1000 })
  const backMs = await untilServed()
  seen.set(fault.name, [...(seen.get(fault.name) ?? []), backMs])
  if (backMs > Number(values['back-within'])) complaints.push(`served ${Math.round(backMs)} ms after: ${fault.name}`)
}

/** Milliseconds for which the first node that serves again has been there, without a stop, since the store's return. */
async function untilServed() {
  const returnedAt = now()
  for (;;) {
    probes += 1
    const up = nodes.filter((node) => node && !node.isStopped && !node.isKilled)
    const asked = up.map(async (node) => {
      const since = Math.max(returnedAt, node.upSince)
      requireServed(await post(node, bodyOf(`probe${probes}`, `probe${probes}-${node.process.pid}`), PROBE_MS))
      return now() - since
    })
    const servedAfterMs = await Promise.any(asked).catch(() => undefined)
    if (servedAfterMs !== undefined) return servedAfterMs
    const there = up.filter((node) => !node.isStopped && !node.isKilled)
    const longestMs = Math.max(0, ...there.map((node) => now() - Math.max(returnedAt, node.upSince)))
    if (longestMs > MOST_MS || isOver) return longestMs
    await sleep(5)
  }
}

function requireServed(status) {
  if (status !== 200) throw new Error(`answered ${status}`)
}

async function makeFaults() {
  let disturbing
  let pausing = 0
  while (!isOver) {
    await sleep(FAULT_EVERY_MS * (0.5 + random() / 2))
    // One that has not served yet would be killed for nothing.
    const up = nodes.filter((node) => node?.isWarm && !node.isStopped && !node.isKilled)
    const node = up[upTo(up.length)]
    const chance = random()
    if (chance < 0.25 && world.faults.length > 0 && !disturbing) {
      disturbing = disturb(world.faults[upTo(world.faults.length)]).finally(() => {
        disturbing = undefined
      })
    } else if (node && chance < 0.6) kill(node)
    else if (node && pausing < NODES - 1) {
      pausing += 1
      void pause(node, 300 + random() * 2 * STALE_AFTER_MS).finally(() => {
        pausing -= 1
      })
    }
  }
  await disturbing
}

/** One message after the other, each until it is done with, now and then to two nodes at once. */
async function send() {
  while (!isOver) {
    numbers += 1
    const id = `m${numbers}`
    const body = bodyOf(`s${upTo(SESSIONS)}`, id)
    let isDone = false
    while (!isDone) {
      const copies = random() < DUPLICATES ? 2 : 1
      const statuses = await Promise.all(Array.from({ length: copies }, () => deliver(body)))
      isDone = statuses.includes(200)
      if (!isDone) await sleep(20 + random() * 200)
    }
    write({ what: 'acknowledged', id })
  }
}

function bodyOf(from, id) {
  const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages: [{ from, id }] }
  const changes = [{ field: 'messages', value }]
  return JSON.stringify({ object: 'whatsapp_business_account', entry: [{ id: '2000', changes }] })
}

/** Resolves to the status; to 0 where there was no answer. */
async function deliver(body) {
  const up = nodes.filter((node) => node && !node.isKilled)
  const node = up[upTo(up.length)]
  if (!node) {
    await sleep(20)
    return 0
  }
  counts.deliveries += 1
  const sentAt = now()
  const pausedBefore = node.pausedMs
  const status = await post(node, body, MOST_MS)
  // A stopped process answers nobody.
  const tookMs = now() - sentAt - (node.pausedMs - pausedBefore)
  if (status === 0 && tookMs >= MOST_MS && !node.isKilled && !node.isStopped) {
    complaints.push(`no answer for ${MOST_MS} ms`)
  }
  return status
}

/** Resolves to the status; to 0 where there was no answer. */
async function post(node, body, withinMs) {
  try {
    const headers = { 'content-type': 'application/json' }
    const signal = AbortSignal.timeout(withinMs)
    const answer = await fetch(`http://127.0.0.1:${node.port}/webhook`, { method: 'POST', headers, body, signal })
    await answer.arrayBuffer()
    if (answer.status === 200) node.isWarm = true
    return answer.status
  } catch {
    return 0
  }
}

await Promise.all(Array.from({ length: NODES }, (_, place) => start(place)))
const senders = Array.from({ length: SENDERS }, () => send())
const faults = makeFaults()
await sleep(Number(values.minutes) * 60_000)
isOver = true
await faults
await Promise.all(senders)
for (const node of nodes) {
  if (!node) continue
  node.isKilled = true
  node.process.kill('SIGKILL')
}
const lines = readFileSync(journal, 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
lines.sort((one, other) => one.at - other.at)
const { violations, runs, acknowledged, twice } = judge(lines, STALE_AFTER_MS)
for (const { what, text } of lines) if (what === 'garbled') complaints.push(text)
console.log(
  `${values.store}, ${values.minutes} min (seed ${values.seed}): ${acknowledged} messages, ${counts.deliveries} deliveries, ` +
    `${runs} runs; ${counts.kills} kills, ${counts.pauses} pauses, ${counts.store} faults of the store; ` +
    `handled twice beside a fault: ${twice.length}`,
)
for (const [name, backMs] of seen) {
  const sorted = backMs.map(Math.round).sort((one, other) => one - other)
  const median = sorted[Math.floor(sorted.length / 2)]
  console.log(`  ${name}: ${sorted.length} times; then served after ${median} ms (median), ${sorted.at(-1)} ms at most`)
}
for (const complaint of [...violations, ...complaints].slice(0, 20)) console.log(`VIOLATION ${complaint}`)
if (violations.length + complaints.length > 0) {
  process.exitCode = 1
  const kept = join(tmpdir(), `faults-${values.store}-${values.seed}.jsonl`)
  writeFileSync(kept, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
  console.log(`what happened is in ${kept}`)
}
await world.close()
await vite.close()
clearInterval(alive)
process.exit()
