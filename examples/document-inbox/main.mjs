/**
 * The show: the same documents, uploads and sign-ins for the old way and for the inbox, and what came of them.
 *
 *     npm run example -- document-inbox
 *
 * Each program has a schema of its own in the database at DATABASE_URL, made anew each time. Ends with code 0 only if
 * the inbox skipped nothing, handled nothing twice, lost nothing, and let everybody sign in.
 */
import { constants } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { requireSettings } from './settings.mjs'
import { countOutcomes, printCounts, printVerdict } from './show/counts.mjs'
import { abandonProcesses, startProcess } from './show/processes.mjs'
import { inbox, oldWay } from './show/programs.mjs'
import { countOf, makeTables, until, urlOfSchema } from './show/tables.mjs'
import { firstHalf, insertIncoming, mailed, secondHalf, signInAll, uploaded } from './show/traffic.mjs'

requireSettings('DATABASE_URL')

/** The first worker is killed once so many documents are handled. */
const KILLED_AFTER = 40
/** What the frozen worker has sent to the database is answered by then. */
const SETTLES_WITHIN_MS = 50
/** A transaction that writes first and commits last stays open until later rows are read, but no longer than this. */
const OPEN_FOR_MS = 1500
/** Nothing has changed for so long: it is over. */
const QUIET_MS = 1000
/** By then all has long been handled, or something is wrong. */
const TIME_LIMIT_MS = 25_000

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => {
    abandonProcesses()
    process.exit(128 + constants.signals[signal])
  })
}

try {
  const before = await show(oldWay)
  const after = await show(inbox)
  printCounts(before, after)
  process.exitCode = printVerdict(after) ? 0 : 1
} catch (error) {
  console.error(`The show failed: ${error.message}`)
  process.exitCode = 1
} finally {
  abandonProcesses()
}

async function show(program) {
  await makeTables(program)
  console.log(`\nDocuments for ${program.title}:`)
  const databaseUrl = urlOfSchema(program.schema)
  const database = new pg.Pool({ connectionString: databaseUrl, max: 3 })
  try {
    return await run(program, await program.start(databaseUrl), database)
  } finally {
    await database.end()
  }
}

async function run(program, { victim, startVictim, others, signInUrl, uploadUrl }, database) {
  for (const transaction of firstHalf) await insertIncoming(database, transaction)
  await killInTheMiddle(program, database, victim)
  console.log('  killed a worker in the middle of its work, and started another one')
  const processes = [await startVictim(), ...others]

  await insertLate(program, database)
  console.log(`  ${mailed.length} documents are in the table, some of them twice; one transaction committed late`)
  const uploader = await startProcess('show/uploader.mjs', { UPLOAD_URL: uploadUrl }, /^sending/)
  const [sent, signInsFailed] = await Promise.all([uploader.says(/^(\{.*\})$/), signInAll(signInUrl)])
  const { taken, refused, failed } = JSON.parse(sent)
  console.log(`  ${taken.length} of ${uploaded.length} uploads were taken, while people signed in`)

  await untilQuiet(program, database)
  const dead = await program.dead(signInUrl)
  const outcomes = await countOutcomes(database, program, { mailed: mailed.map((one) => one.messageId), taken, dead })
  await Promise.all(processes.map((one) => one.stop()))
  const linesLike = (pattern) => [victim, ...processes].reduce((sum, one) => sum + one.count(pattern), 0)
  return {
    ...outcomes,
    violations: linesLike(/violates unique constraint/),
    takenOver: linesLike(/taking over STALE lock/),
    signInsFailed,
    uploadsFailed: failed,
    uploadsRefused: refused,
    dead: dead.length,
  }
}

/** Kills the worker when much is done, and while it has something in its hands: it is frozen for the look at them. */
async function killInTheMiddle({ inHands }, database, victim) {
  async function isInTheMiddle() {
    if ((await countOf(database, 'SELECT count(*) FROM documents')) < KILLED_AFTER) return false
    victim.freeze()
    await sleep(SETTLES_WITHIN_MS)
    if ((await countOf(database, inHands)) > 0) return true
    victim.resume()
    return false
  }
  await until(isInTheMiddle, TIME_LIMIT_MS)
  await victim.kill()
}

/** The first transaction of the second half draws its ids first, and commits after the others. */
async function insertLate({ known }, database) {
  const [late, ...others] = secondHalf
  const client = await database.connect()
  await client.query('BEGIN')
  await insertIncoming(client, late)
  for (const transaction of others) await insertIncoming(database, transaction)
  const theLast = [mailed.at(-1).messageId]
  const countTheLast = `SELECT count(*) FROM (${known}) AS known WHERE message_id = $1`
  await until(async () => (await countOf(database, countTheLast, theLast)) > 0, OPEN_FOR_MS)
  await client.query('COMMIT')
  client.release()
}

/** Until nothing waits any more, and nothing happens. */
async function untilQuiet({ waiting, known }, database) {
  let last = ''
  let since = performance.now()
  async function isQuiet() {
    const waits = await countOf(database, waiting)
    const knows = await countOf(database, `SELECT count(*) FROM (${known}) AS known`)
    const now = `${waits} ${knows} ${await countOf(database, 'SELECT count(*) FROM documents')}`
    if (now !== last) since = performance.now()
    last = now
    return waits === 0 && performance.now() - since >= QUIET_MS
  }
  await until(isQuiet, TIME_LIMIT_MS)
}
