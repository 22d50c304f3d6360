// One of several processes on one SQLite file. Arguments: what to do, the file's URL, and the work's own.
import { openStore } from '../../../dist/store/open.js'

const [, , task, url, ...rest] = process.argv
const settings = { tablePrefix: 'session_lock_', timeoutMs: 20_000 }

const tasks = {
  /** Prints what it applied. */
  async migrate() {
    await startSignal()
    const { store } = await openStore(url, settings)
    console.log(`applied ${JSON.stringify(await store.migrate())}`)
    await store.checkSchema()
    await store.close()
  },

  /** Handles every message of every session that it can get; prints `ran MESSAGE SESSION TOKEN` for each. */
  async handle([name, sessions, messagesEach]) {
    const { store } = await openStore(url, settings)
    await startSignal()
    const wanted = []
    for (let message = 0; message < Number(messagesEach); message++) {
      for (let session = 0; session < Number(sessions); session++)
        wanted.push([`s${session}`, `s${session}-m${message}`])
    }
    await Promise.all(wanted.map(([session, message], index) => handleOne(store, `${name}-${index}`, session, message)))
    await store.close()
  },

  /** Takes the write lock and keeps it for so many milliseconds. */
  async hold([milliseconds]) {
    const { default: Database } = await import('better-sqlite3')
    const database = new Database(url.slice('sqlite:'.length), { timeout: 5000 })
    database.exec('BEGIN IMMEDIATE')
    console.log('holding')
    await pause(Number(milliseconds))
    database.exec('COMMIT')
    database.close()
  },
}

async function handleOne(store, owner, session, message) {
  const messages = [{ key: message, provider: 'p', device: null, id: message }]
  const rows = [{ key: session, prospect: null, device: null }]
  const claim = { owner, nodeId: owner, parts: [{ rows, messages }], whole: true, staleAfterMs: 60_000, tokenAbove: 0 }
  for (;;) {
    const [[part]] = await store.claim([claim])
    if (part.outcome === 'completed') return
    if (part.outcome === 'acquired') {
      console.log(`ran ${message} ${session} ${part.fencingToken}`)
      const held = [{ key: session, fencingToken: part.fencingToken }]
      const end = { outcome: 'completed', retentionMs: 60_000, error: null, response: null }
      const [verdict] = await store.settle([{ owner, nodeId: owner, rows: held, messages, ...end }])
      if (verdict === 'lost') throw new Error(`${message}: ${verdict}`)
      return
    }
    await pause(Math.random() * 20)
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

/** So that all processes begin at one moment. */
function startSignal() {
  console.log('ready')
  return new Promise((resolve) => process.stdin.once('data', resolve)).finally(() => process.stdin.unref())
}

await tasks[task](rest)
