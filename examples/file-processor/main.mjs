/**
 * The show: the same files on three processes, first the old way, then with session-lock, with a SIGKILL in the middle.
 * It needs DATABASE_URL (MariaDB or MySQL) and makes its own tables there. Ends with code 0 only if, with session-lock,
 * every file was completed, none was processed twice but the one in the killed node's hands, and none by two at once.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool } from 'mysql2/promise'
import { createNodes } from './nodes.mjs'
import { areDone, judge, openRunsOf, runsIn } from './runs.mjs'
import { filesTable } from './table.mjs'

const OLD_PREFIX = 'example_files_old_'
const NEW_PREFIX = 'example_files_'
// An hour in real life.
const STALE_AFTER_MS = 2500
// A node rests so long after every 16 KiB: the slow file takes about twice STALE_AFTER_MS.
const PAUSE_MS = 10
const SMALL_BYTES = 8 * 1024
const DOOMED_BYTES = 60 * 16 * 1024
const SLOW_BYTES = 380 * 16 * 1024

const EARLY = Array.from({ length: 60 }, (_, number) => `small-${number + 1}.txt`)
const LATE = Array.from({ length: 30 }, (_, number) => `late-${number + 1}.txt`)
const [SLOW, DOOMED] = ['slow.txt', 'doomed.txt']
const ALL = [...EARLY, SLOW, DOOMED, ...LATE]

const { DATABASE_URL } = process.env
if (!DATABASE_URL) {
  console.error('DATABASE_URL is not set: give it a value such as mysql://user:password@127.0.0.1:3306/database')
  process.exit(1)
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.once(signal, () => process.exit(128 + constants.signals[signal]))
}

const directory = makeFiles()
const pool = createPool({ uri: DATABASE_URL, timezone: 'Z' })
await dropTables()
const old = await showOldWay()
const kept = await showSessionLock()
await pool.end()
process.exitCode = conclude(old, kept)

function makeFiles() {
  const directory = mkdtempSync(join(tmpdir(), 'file-processor-'))
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }))
  const words = 'all work and no play '
  const write = (name, bytes) => writeFileSync(join(directory, name), words.repeat(bytes / words.length))
  for (const name of [...EARLY, ...LATE]) write(name, SMALL_BYTES)
  write(SLOW, SLOW_BYTES)
  write(DOOMED, DOOMED_BYTES)
  return directory
}

/** Those of the last show. */
async function dropTables() {
  const [tables] = await pool.query(
    'SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE() AND LEFT(table_name, ?) = ?',
    [NEW_PREFIX.length, NEW_PREFIX],
  )
  for (const { name } of tables) await pool.query('DROP TABLE ??', [name])
}

function environmentOf(tablePrefix) {
  const numbers = { STALE_AFTER_MS, PAUSE_MS, POLL_MS: 50 }
  return { FILES_DIRECTORY: directory, TABLE_PREFIX: tablePrefix, ...numbers }
}

/**
 * Three nodes and the first files; then two large ones, SIGKILL for whoever has the second in hand, and a node in its
 * place. Resolves to the nodes that are alive, by their server ids.
 */
async function runUntilKill(nodes, queue) {
  const running = new Map()
  const start = async (serverId) => running.set(serverId, await nodes.start(serverId))
  await Promise.all(['node-1', 'node-2', 'node-3'].map(start))
  await queue(EARLY, running)
  await nodes.until('the first files', (records) => areDone(EARLY, records))
  for (const name of [SLOW, DOOMED]) {
    await queue([name], running)
    await nodes.until(name, (records) => openRunsOf(name, records).length > 0)
  }
  for (;;) {
    const [run] = openRunsOf(DOOMED, nodes.records)
    if (!run) break
    await running.get(run.serverId).end('SIGKILL')
    running.delete(run.serverId)
    console.log(`  SIGKILL to ${run.serverId}, which had ${DOOMED} in hand; node-4 is started in its place`)
  }
  await start('node-4')
  return running
}

async function showOldWay() {
  console.log(`The old way, SELECT and then UPDATE: ${ALL.length} files, three processes.`)
  const files = filesTable(pool, OLD_PREFIX)
  await files.create()
  const nodes = createNodes('old-way.mjs', environmentOf(OLD_PREFIX))
  const queue = async (names) => {
    for (const name of names) await files.add(name)
  }
  const running = await runUntilKill(nodes, queue)
  await queue(LATE)
  await isHeldForLong(SLOW, nodes)
  const stuck = await countStuck(files, running)
  const whose = inHand(SLOW, nodes)
  await (await nodes.start('clean-up', 'clean-up')).ended
  const { files: putBack } = nodes.records.find(({ msg }) => msg === 'cleaned up')
  console.log(`  the clean-up by age put back ${putBack} files; ${whose}`)
  await nodes.until('all files', (records) => areDone(ALL, records))
  sayWhoHad(SLOW, nodes)
  await Promise.all([...running.values()].map((node) => node.end('SIGKILL')))
  return { ...judge(ALL, nodes.records), stuck }
}

async function showSessionLock() {
  console.log(`\nWith session-lock: the same ${ALL.length} files, three processes.`)
  const nodes = createNodes('node.mjs', environmentOf(NEW_PREFIX))
  const running = await runUntilKill(nodes, queueOverHttp)
  const { isGone } = await deployWhile(SLOW, nodes, running)
  await queueOverHttp(LATE, running)
  await isHeldForLong(SLOW, nodes)
  const [node] = running.values()
  const { putBack } = await (await fetch(`${node.url}/cleanup`, { method: 'POST' })).json()
  console.log(`  POST /cleanup put back ${putBack.length} files; ${inHand(SLOW, nodes)}`)
  await nodes.until('all files', (records) => areDone(ALL, records))
  sayWhoHad(SLOW, nodes)
  const stuck = await countStuck(filesTable(pool, NEW_PREFIX), running)
  const stats = await (await fetch(`${node.url}/stats`)).json()
  const codes = await Promise.all([isGone, ...[...running.values()].map((left) => left.end('SIGTERM'))])
  return { ...judge(ALL, nodes.records), stuck, stats, haveDrained: codes.every((code) => code === 0) }
}

/** A rolling deploy: the new node is there before the old one is told to go. */
async function deployWhile(name, nodes, running) {
  running.set('node-5', await nodes.start('node-5'))
  const [run] = openRunsOf(name, nodes.records)
  const serverId = run?.serverId ?? 'node-4'
  const isGone = running.get(serverId).end('SIGTERM')
  running.delete(serverId)
  console.log(`  node-5 is started, and SIGTERM goes to ${serverId}, which has ${run?.name ?? 'nothing'} in hand`)
  return { isGone }
}

async function queueOverHttp(names, running) {
  const nodes = [...running.values()]
  await Promise.all(
    names.map(async (name, number) => {
      const body = JSON.stringify({ name })
      const headers = { 'Content-Type': 'application/json' }
      const response = await fetch(`${nodes[number % nodes.length].url}/files`, { method: 'POST', headers, body })
      if (response.status !== 202) throw new Error(`${name} was not queued: ${await response.text()}`)
    }),
  )
}

function inHand(name, { records }) {
  const [run] = openRunsOf(name, records)
  return run ? `${run.serverId}, which is alive, has ${name} in hand` : `nobody has ${name} in hand any more`
}

function sayWhoHad(name, { records }) {
  const servers = runsIn(records)
    .filter((run) => run.name === name)
    .map(({ serverId }) => serverId)
  console.log(`  ${name} was processed by ${servers.join(' and by ')}`)
}

/** Longer than staleAfterMs, that is, and by a node that is alive. */
async function isHeldForLong(name, nodes) {
  const run = runsIn(nodes.records).find((one) => one.name === name)
  await sleep(Math.max(0, run.startedAt + STALE_AFTER_MS + 300 - Date.now()))
}

/** Files that are said to be processed, by nodes that are dead. */
async function countStuck(files, running) {
  const rows = await files.list()
  return rows.filter(({ status, serverId }) => status === 'processing' && !running.has(serverId)).length
}

/** Prints what came out, and returns the exit code. */
function conclude(old, kept) {
  const line = (what, count) => console.log(`  ${what.padEnd(42)}${count(old).padStart(10)}${count(kept).padStart(15)}`)
  console.log(`\n  ${'files'.padEnd(42)}${'old way'.padStart(10)}${'session-lock'.padStart(15)}`)
  line('completed', ({ completed }) => `${completed} of ${ALL.length}`)
  line('processed more than once', ({ moreThanOnce }) => String(moreThanOnce))
  line('processed by two nodes at the same time', ({ atTheSameTime }) => String(atTheSameTime))
  line('stuck after the SIGKILL', ({ stuck }) => String(stuck))
  console.log('\nWhat each node did with session-lock (GET /stats):')
  console.table(kept.stats)
  for (const { name, killed, again } of kept.afterKill) {
    console.log(
      `${name} was begun twice, and had to be: ${killed} was killed with it in hand, and nobody can know how far`,
    )
    console.log(`it had come. Its lease was stale ${STALE_AFTER_MS} ms later, and ${again} processed it.`)
  }
  const problems = problemsOf(kept)
  for (const problem of problems) console.log(`FAILED: ${problem}.`)
  if (problems.length === 0)
    console.log('No file was lost, stuck or completed twice, and the nodes that were told to end did so.')
  return problems.length === 0 ? 0 : 1
}

function problemsOf({ completed, moreThanOnce, atTheSameTime, stuck, afterKill, haveDrained }) {
  const problems = []
  if (completed < ALL.length) problems.push(`${ALL.length - completed} files were not completed`)
  if (moreThanOnce > 0) problems.push(`${moreThanOnce} files were processed more than once`)
  if (atTheSameTime > 0) problems.push(`${atTheSameTime} files were processed by two nodes at the same time`)
  if (stuck > 0) problems.push(`${stuck} files are stuck`)
  if (afterKill.length === 0) problems.push('no node was killed with a file in hand, so nothing was shown of that')
  if (!haveDrained) problems.push('a node did not end by itself after SIGTERM')
  return problems
}
