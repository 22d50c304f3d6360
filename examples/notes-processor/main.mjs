/**
 * The show: two processes that summarise the same notes, one of which is killed in the middle. First the old way, then
 * with session-lock; the same notes, the same model, the same traffic.
 *
 *     npm run example -- notes-processor
 *
 * Ends with code 0 only if, with session-lock, every note was completed, none is stuck, and none was paid for twice
 * but for those that the killed process had in hand.
 */
import pg from 'pg'
import { startModel } from './model.mjs'
import { startNode } from './nodes.mjs'
import { judge, makeNotes, sendTraffic } from './traffic.mjs'

const MODEL_THINKS_MS = 200
// Short, so that the show need not last for minutes. In production leave staleAfterMs at its 30 s.
const STALE_AFTER_MS = 3000
const PATIENCE_MS = 2 * STALE_AFTER_MS

const { DATABASE_URL } = process.env
if (!DATABASE_URL) {
  console.error(
    'DATABASE_URL is not set: give a Postgres database, or start this with "npm run example -- notes-processor"',
  )
  process.exit(1)
}

const pool = new pg.Pool({ connectionString: DATABASE_URL })
try {
  process.exitCode = await run()
} finally {
  await pool.end()
}

async function run() {
  console.log('A model that is paid by the call, two processes, and a SIGKILL to one of them while it works.\n')
  console.log('The old way: the status column is the lock (old-way.mjs)')
  const before = await play('old-way.mjs')
  print(before)
  console.log('\nThe same with session-lock (app.mjs)')
  const after = await play('app.mjs')
  print(after)
  explain(after)
  const problems = problemsOf(after)
  console.log(problems.length === 0 ? '\nAll was kept that was promised.' : `\nFAILED: ${problems.join('; ')}.`)
  return problems.length === 0 ? 0 : 1
}

async function play(program) {
  const model = await startModel({ thinkMs: MODEL_THINKS_MS })
  await makeNotes(pool)
  const environment = { DATABASE_URL, MODEL_URL: model.url, STALE_AFTER_MS: String(STALE_AFTER_MS) }
  const nodes = await Promise.all(['node-a', 'node-b'].map((name) => startNode(name, program, environment)))
  try {
    const [survivor, victim] = nodes
    const inHand = await sendTraffic({ survivor, victim, model, pool, patienceMs: PATIENCE_MS })
    return await judge({ model, pool, inHand })
  } finally {
    await Promise.all(nodes.map((node) => node.stop()))
    model.close()
  }
}

function print({ notes, completed, stuck, calls, paidTwice, paidTwiceWithoutKill, inHand }) {
  const rows = [
    ['notes', notes, ''],
    ['calls of the model, all paid for', calls, ''],
    ['notes paid for twice', paidTwice.length, listOf(paidTwice)],
    ['  of which no kill was the reason', paidTwiceWithoutKill.length, listOf(paidTwiceWithoutKill)],
    ['notes in hand of the killed process', inHand.length, listOf(inHand)],
    ['notes completed', completed, ''],
    ['notes stuck in processing for ever', stuck.length, listOf(stuck)],
  ]
  for (const [name, number, which] of rows) {
    console.log(`  ${name.padEnd(36)} ${String(number).padStart(3)}   ${which}`.trimEnd())
  }
}

function listOf(ids) {
  return ids.length === 0 ? '' : `(${ids.join(', ')})`
}

function explain({ paidTwice }) {
  if (paidTwice.length === 0) return
  console.log(`
  The notes that were paid for twice were in hand of the process that was killed: the model had been called, and its
  answer did not stand in the note yet. Only the model knows of such a call, so no lock can spare the second one.`)
}

function problemsOf({ notes, completed, stuck, paidTwiceWithoutKill, inHand }) {
  const problems = []
  if (completed < notes) problems.push(`${notes - completed} notes were not completed`)
  if (stuck.length > 0) problems.push(`${stuck.length} notes are stuck`)
  if (paidTwiceWithoutKill.length > 0)
    problems.push(`${paidTwiceWithoutKill.length} notes were paid for twice, no kill was the reason`)
  if (inHand.length === 0) problems.push('the killed process had nothing in hand, so nothing was proved about that')
  return problems
}
