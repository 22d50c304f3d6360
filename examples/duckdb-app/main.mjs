/**
 * The show: a web app and a pipeline, two processes, one DuckDB file. First the old way, then with the lease, then a
 * pipeline that is killed and a program outside. Ends with code 0 only if the lease held what it promises.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { isGood, judge, printJudged } from './show/judge.mjs'
import { failedOpenings, killAll, start } from './show/programs.mjs'
import { sendOrders, VISITS_IN_BATCH, writeBatch } from './show/traffic.mjs'

const ORDERS = 20
const BATCHES = 4
const GAP_MS = 50
const THINK_MS = '250'
/** So short only so that the show is: in production leave it at its 30 s. */
const STALE_AFTER_MS = '3000'

const directory = mkdtempSync(join(tmpdir(), 'session-lock-duckdb-'))
endWithSignals()
try {
  await oldWayAtStart()
  await oldWayInTurn()
  await oldWayAtOnce()
  const isKept = await withLease()
  console.log(isKept ? '\nEvery row that was acknowledged is in the file, once.' : '\nFAILED: see what is not 0 above.')
  process.exitCode = isKept ? 0 : 1
} catch (error) {
  console.error(`\nThe show failed: ${error.message}`)
  process.exitCode = 1
} finally {
  killAll()
  rmSync(directory, { recursive: true, force: true })
}

/** Whoever is first keeps the file, and the other cannot even start. */
async function oldWayAtStart() {
  const env = { ...settings('at-start', BATCHES), OPEN: 'at-start' }
  const web = start(['old-way.mjs', 'web'], env)
  const url = await urlOf(web)
  const pipeline = start(['old-way.mjs', 'pipeline'], env)
  const orders = await sendOrders(url, orderIds('order', 3), GAP_MS)
  await pipeline.exited
  await conclude('The old way: both open the file when they start.', { env, programs: [web, pipeline], orders })
}

/** Whoever finds the file open fails. */
async function oldWayInTurn() {
  const env = { ...settings('in-turn', BATCHES), OPEN: 'in-turn' }
  const { programs, orders } = await bothAtWork(['old-way.mjs', 'web'], ['old-way.mjs', 'pipeline'], env)
  await conclude('The old way: both open the file when they need it.', { env, programs, orders })
}

/** Within one process DuckDB refuses nothing: every request writes the file as if it were alone. */
async function oldWayAtOnce() {
  const env = { ...settings('at-once', 0), OPEN: 'at-once' }
  const web = start(['old-way.mjs', 'web'], env)
  const orders = await sendOrders(await urlOf(web), orderIds('order', 12), 0)
  const title = 'The old way, the web app alone: every request opens the file, several at once.'
  await conclude(title, { env, programs: [web], orders })
}

/** Resolves to whether all was kept. */
async function withLease() {
  const env = settings('with-lease', BATCHES)
  const { programs, orders, url } = await bothAtWork(['web.mjs'], ['pipeline.mjs'], env)
  const [web, pipeline] = programs
  console.log(`\nWith the lease ${failedOpenings(...programs).length} openings have failed so far.`)
  const afterKill = await killInTheMiddle(env, web, url)
  const outside = await openOutside(env, web, url)
  const all = [orders, afterKill.orders, outside.orders]
  const judged = await conclude('With session-lock: both open the file under its lease.', {
    env,
    programs: [web, pipeline, afterKill.pipeline],
    orders: {
      sent: all.reduce((sum, { sent }) => sum + sent, 0),
      accepted: all.flatMap(({ accepted }) => accepted),
      comeAgain: all.reduce((sum, { comeAgain }) => sum + comeAgain, 0),
    },
    provokedBy: outside.pid,
  })
  return isGood(judged) && afterKill.isWhole && outside.failed > 0
}

/** The web app and the pipeline beside each other, until all orders are answered and all batches tried. */
async function bothAtWork(webWords, pipelineWords, env) {
  const web = start(webWords, env)
  const url = await urlOf(web)
  const pipeline = start(pipelineWords, env)
  await pipeline.line(/^batch/)
  const orders = await sendOrders(url, orderIds('order', ORDERS), GAP_MS)
  await pipeline.exited
  return { programs: [web, pipeline], orders, url }
}

/** SIGKILL while a batch is written and not committed; then orders; then the pipeline again. */
async function killInTheMiddle(env, web, url) {
  writeBatch(env.BATCH_DIR, BATCHES + 1)
  const killed = start(['pipeline.mjs'], { ...env, THINK_MS: '60000' })
  await killed.line(/is written, and not committed/)
  await callDoctor(env)
  const ordering = sendOrders(url, orderIds('after-kill', 3), GAP_MS)
  await killed.kill()
  console.log(`SIGKILL to process ${killed.pid} in the middle of batch visits-${BATCHES + 1}.`)
  const orders = await ordering
  const [takeover] = await web.line(/^took over the lease of .*/)
  console.log(`The web app ${takeover}; ${orders.accepted.length} of ${orders.sent} orders were answered 201 then.`)
  const half = (await visitsIn(url)) - BATCHES * VISITS_IN_BATCH
  console.log(`In the file are ${half} visits of the batch that was cut off.`)

  const pipeline = start(['pipeline.mjs'], env)
  await pipeline.exited
  const again = (await visitsIn(url)) - BATCHES * VISITS_IN_BATCH
  console.log(`The pipeline has started again: in the file are ${again} visits of that batch.`)
  return { orders, pipeline, isWhole: half === 0 && again === VISITS_IN_BATCH }
}

/** A program without a lease has the file open: the web app tries again until it has gone. */
async function openOutside(env, web, url) {
  console.log('\nNow somebody opens the file with a program that knows nothing of leases.')
  const outsider = start(['show/outsider.mjs', env.DUCKDB_FILE], env)
  await outsider.line(/has the file open/)
  await callDoctor(env)
  const ordering = sendOrders(url, orderIds('outside', 3), GAP_MS)
  await web.line(new RegExp(`^opening failed: .*PID ${outsider.pid}`))
  await outsider.stop()
  const orders = await ordering
  const failed = failedOpenings(web).length
  console.log(
    `Openings that failed for it, and were tried again: ${failed}; ${orders.accepted.length} of ${orders.sent} orders were answered 201.`,
  )
  return { orders, failed, pid: outsider.pid }
}

async function callDoctor(env) {
  const doctor = start(['doctor.mjs'], env)
  await doctor.exited
  for (const line of doctor.lines) console.log(`  doctor: ${line}`)
}

async function visitsIn(url) {
  const response = await fetch(`${url}/report`)
  const { batches } = await response.json()
  return batches.reduce((sum, { visits }) => sum + visits, 0)
}

/** Ends the web app, and counts what is in the file. `provokedBy`: a process whose lock is not counted as a failure. */
async function conclude(title, { env, programs, orders, provokedBy }) {
  await programs[0].stop()
  const reader = start(['show/contents.mjs', env.DUCKDB_FILE], env)
  const contents = (await reader.exited) === 0 ? JSON.parse(reader.lines[0]) : undefined
  const failed = failedOpenings(...programs).filter((text) => !text.includes(`(PID ${provokedBy})`))
  const batches = readdirSync(env.BATCH_DIR).length
  const judged = judge({ orders, batches, failed, contents })
  printJudged(title, judged)
  return judged
}

/** Each round has a file of its own. */
function settings(name, batches) {
  const place = join(directory, name)
  const env = { DUCKDB_FILE: join(place, 'app.duckdb'), BATCH_DIR: join(place, 'batches'), PORT: '0' }
  mkdirSync(env.BATCH_DIR, { recursive: true })
  for (let number = 1; number <= batches; number++) writeBatch(env.BATCH_DIR, number)
  return { ...env, THINK_MS, STALE_AFTER_MS, LOCK_WAIT_MS: '', LOCK_TRIES: '' }
}

async function urlOf(web) {
  const [, port] = await web.line(/listens on port (\d+)/)
  return `http://127.0.0.1:${port}`
}

function orderIds(name, count) {
  return Array.from({ length: count }, (_, at) => `${name}-${at + 1}`)
}

/** Ctrl-C and its kind: nothing stays behind. */
function endWithSignals() {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.once(signal, () => {
      killAll()
      rmSync(directory, { recursive: true, force: true })
      process.exit(128 + constants.signals[signal])
    })
  }
}
