/**
 * How soon the inbox answers while handlers take seconds: its answers beside those of an empty Express route of the
 * same four processes, in slices that alternate.
 *
 *   npm run bench:answers                                            # 10 000 messages of 200 sessions, handlers of 2 s
 *   npm run bench:answers -- --messages 2000 --hold 500 --connections 16 --stores postgres
 *   npm run bench:answers -- --kill                                  # one of them is killed every 300 ms, to the end
 *   npm run bench:answers -- --kill --spares 4 --stale 1000          # and not a little later where one is starting still
 *                                                                    # (after npm ci --prefix test/bench)
 *
 * The next message of a session is sent when the one before was answered; what a killed process did not answer is sent
 * again. At the end every message must be completed, in that order, and each handled once, or with kills once more for
 * each handler that was killed. It ends with exit code 1 where one is not, or where the 99th percentile of the answers
 * is more than five times that of the empty route.
 */
import { readFileSync } from 'node:fs'
import { symlink } from 'node:fs/promises'
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { createSessionLock } from '../../dist/index.js'
import { inWorkshop, percentile, printTable, wholeNumber } from './workshop.mjs'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const SCRIPT = new URL('../inbox/children/node.mjs', import.meta.url)
const NODES = 4
const SLICES = 10
const MOST_TIMES = 5
const TIMES = ['answer p50', 'p99', 'empty route p50', 'p99', 'times its p99']
const COUNTS = ['completed', 'handled', 'twice', 'out of order', 'kills', 'seconds']
const COLUMNS = ['', ...TIMES, ...COUNTS]

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '10000' },
    sessions: { type: 'string', default: '200' },
    connections: { type: 'string', default: '64' },
    hold: { type: 'string', default: '2000' },
    kill: { type: 'boolean', default: false },
    /** So many more processes stand by to take the place of the killed; 0: the next kill waits for its successor. */
    spares: { type: 'string', default: '0' },
    /** `staleAfterMs` of nodes that are killed. */
    stale: { type: 'string', default: '5000' },
    stores: { type: 'string', default: 'postgres,mysql,sqlite' },
  },
})
const names = ['messages', 'sessions', 'connections', 'hold', 'stale']
const settings = {
  ...Object.fromEntries(names.map((name) => [name, wholeNumber(values, name)])),
  spares: wholeNumber(values, 'spares', 0),
}

await inWorkshop(values.stores.split(','), async ({ urls, spawnNode, startDyingNodes, makeTemporaryDirectory }) => {
  const lines = [COLUMNS]
  const script = settings.spares > 0 ? await bundled(SCRIPT, makeTemporaryDirectory('bundle')) : SCRIPT
  for (const [store, url] of Object.entries(urls)) {
    const journal = join(makeTemporaryDirectory('journal'), 'handled.jsonl')
    const options = { store: url, tablePrefix: 'bench_answers_', ...(values.kill && { staleAfterMs: settings.stale }) }
    const start = values.kill ? startDying(startDyingNodes) : startStanding(spawnNode)
    lines.push(await measureStore(store, options, journal, (ofNodes) => start(script, ofNodes)))
  }
  const { messages, sessions, connections, hold } = settings
  const title = `answers in ms, ${messages} messages of ${sessions} sessions, ${connections} connections, ${NODES} processes, handlers of ${hold} ms`
  printTable(title, lines)
})

/** A few files in place of hundreds: two cores could not start a process that reads those every 300 ms. */
async function bundled(script, directory) {
  const { rolldown } = await import('rolldown')
  // As the package stands in its own directory: its tables' definitions are two levels up.
  for (const part of ['node_modules', 'sql']) await symlink(join(ROOT, part), join(directory, part))
  const external = ['better-sqlite3', 'pg-native', 'thread-stream']
  const bundle = await rolldown({ input: fileURLToPath(script), platform: 'node', cwd: ROOT, external })
  await bundle.write({ dir: join(directory, 'bot/bundled') })
  return pathToFileURL(join(directory, 'bot/bundled/node.js'))
}

/** Nodes that nobody kills. */
function startStanding(spawnNode) {
  return async (script, settings) => {
    const nodes = Array.from({ length: NODES }, () => spawnNode(script, [JSON.stringify(settings)]))
    const ports = await Promise.all(nodes.map(async (node) => Number((await node.waitForLine(/^listening (\d+)/))[1])))
    return {
      port: async () => ports[Math.floor(Math.random() * NODES)],
      kills: () => 0,
      async end() {
        for (const node of nodes) node.kill('SIGKILL')
      },
    }
  }
}

/** Nodes of which one is killed every 300 ms. */
function startDying(startDyingNodes) {
  return (script, ofNodes) => startDyingNodes(script, NODES, ofNodes, Math.random, settings.spares)
}

async function measureStore(name, options, journal, start) {
  const concurrency = Math.ceil(settings.sessions / NODES)
  const inbox = { concurrency, maxAttempts: 1000 }
  const startedAt = performance.now()
  const nodes = await start({ options, inbox, workMs: settings.hold, journal })
  const lock = createSessionLock({ ...options, logger: false })
  const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY })
  try {
    const post = async (path, body) => {
      const port = await nodes.port()
      const startedAt = performance.now()
      const status = await deliver(agent, port, path, body)
      return { status, tookMs: performance.now() - startedAt }
    }
    const sessions = Array.from({ length: settings.sessions }, (_, session) => ({ session, next: 0 }))
    const times = { '/webhook': [], '/bare': [] }
    // The first of each, until code is compiled, does not count.
    await slice(post, '/bare', sessions, settings.messages / SLICES, [])
    for (let at = 0; at < SLICES; at += 1) {
      process.stderr.write(`${name}: slice ${at + 1} of ${SLICES}\n`)
      await slice(post, '/bare', sessions, settings.messages / SLICES, times['/bare'])
      await slice(post, '/webhook', sessions, settings.messages / SLICES, at === 0 ? [] : times['/webhook'])
    }
    const completed = async () => (await lock.stats()).messages.completed
    process.stderr.write(`${name}: waiting for the handlers\n`)
    while ((await completed()) < settings.messages) await sleep(500)
    const seconds = Math.round((performance.now() - startedAt) / 1000)
    return lineOf(name, times, await completed(), judge(journal), nodes.kills(), seconds)
  } finally {
    agent.destroy()
    await nodes.end()
    await lock.close()
  }
}

/** So many deliveries, each session's next one when its last was answered. Only answers count. */
async function slice(post, path, sessions, count, times) {
  let left = count
  const idle = [...sessions]
  const connection = async () => {
    while (left > 0) {
      left -= 1
      const session = idle.shift()
      let status
      while (status !== 200) {
        const answer = await post(path, bodyOf(session))
        status = answer.status
        if (status === 200) times.push(answer.tookMs)
        else if (!values.kill || (status !== 0 && status !== 503)) throw new Error(`${path} answered ${status}`)
        else await sleep(20)
      }
      if (path === '/webhook') session.next += 1
      idle.push(session)
    }
  }
  await Promise.all(Array.from({ length: settings.connections }, connection))
}

function bodyOf({ session, next }) {
  const messages = [{ from: `s${session}`, id: `m${session}-${String(next).padStart(6, '0')}` }]
  const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages }
  const changes = [{ field: 'messages', value }]
  return JSON.stringify({ object: 'whatsapp_business_account', entry: [{ id: '2000', changes }] })
}

/** Resolves to the status; to 0 where there was no answer. */
function deliver(agent, port, path, body) {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    const sent = request({ agent, port, host: '127.0.0.1', method: 'POST', path, headers, timeout: 10_000 })
    sent.on('timeout', () => sent.destroy()).on('error', () => resolve(0))
    sent.on('response', (answer) => {
      const end = () => resolve(answer.statusCode)
      answer
        .resume()
        .on('error', () => resolve(0))
        .on('end', end)
    })
    sent.end(body)
  })
}

function judge(journal) {
  const latest = new Map()
  const handled = new Set()
  let twice = 0
  let disorders = 0
  for (const line of readFileSync(journal, 'utf8').trim().split('\n')) {
    const { ids, session } = JSON.parse(line)
    for (const id of ids) {
      handled.add(id)
      const before = latest.get(session)
      if (id === before) twice += 1
      else if (before !== undefined && id < before) disorders += 1
      latest.set(session, id)
    }
  }
  return { handled: handled.size, twice, disorders }
}

function lineOf(name, times, completed, { handled, twice, disorders }, kills, seconds) {
  const [answer, empty] = [times['/webhook'], times['/bare']]
  const ratio = percentile(answer, 0.99) / percentile(empty, 0.99)
  if (ratio > MOST_TIMES || disorders > 0) process.exitCode = 1
  if (completed !== settings.messages || handled !== settings.messages) process.exitCode = 1
  if (twice > kills * Math.ceil(settings.sessions / NODES)) process.exitCode = 1
  const inMs = (list, share) => percentile(list, share).toFixed(1)
  const counted = [completed, handled, twice, disorders, kills, seconds].map(String)
  return [
    name,
    inMs(answer, 0.5),
    inMs(answer, 0.99),
    inMs(empty, 0.5),
    inMs(empty, 0.99),
    ratio.toFixed(2),
    ...counted,
  ]
}
