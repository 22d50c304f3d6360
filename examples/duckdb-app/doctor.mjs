/**
 * Says who has the DuckDB file open, who holds its lease, and what to do: `DUCKDB_FILE=./app.duckdb node doctor.mjs`.
 * Changes nothing. Ends with code 3 where there is something to do.
 */
import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSessionLock } from 'session-lock'
import { leaseFileOf, sessionOf } from './database.mjs'
import { firstLineOf } from './duckdb-file.mjs'
import { holdersOf } from './holders.mjs'
import { readSettings } from './settings.mjs'

/** The file and its lease are looked at one after the other, so what seems wrong must seem so again and again. */
const LOOKS = 5
const LOOK_AGAIN_AFTER_MS = 100

const { path } = readSettings()
const file = basename(path)
if (!existsSync(path)) {
  console.error(`There is no file ${path}: give its path in DUCKDB_FILE, or start the web app, which makes it.`)
  process.exit(1)
}
// Where nobody has used the lease yet there is no store; it is not made here.
const lock = existsSync(leaseFileOf(path))
  ? createSessionLock({ store: `sqlite:${leaseFileOf(path)}`, migrate: 'off', cleanupEveryMs: 0, logger: false })
  : undefined

try {
  const { isWell, text, advice } = await examineUntilSure()
  console.log(`${text}\n→ ${advice}`)
  process.exitCode = isWell ? 0 : 3
} catch (error) {
  console.error(`Who has ${file} open could not be found out; try as the user that owns it. ${firstLineOf(error)}`)
  process.exitCode = 1
} finally {
  await lock?.close()
}

async function examineUntilSure() {
  let diagnosis = await examine()
  for (let looks = 1; looks < LOOKS && !diagnosis.isWell; looks++) {
    await sleep(LOOK_AGAIN_AFTER_MS)
    diagnosis = await examine()
  }
  return diagnosis
}

async function examine() {
  const holders = await holdersOf(path)
  const [lease] = (await lock?.sessions({ prospect: sessionOf(path) })) ?? []
  return { text: `${describeHolders(holders)}; ${describeLease(lease)}`, ...judge(holders, lease) }
}

function describeHolders(holders) {
  if (holders.length === 0) return `no process has ${file} open`
  const named = holders.map(({ pid, command }) => `process ${pid} (${command})`)
  return `${named.join(' and ')} ${named.length === 1 ? 'has' : 'have'} ${file} open`
}

function describeLease(lease) {
  const name = `the lease ${sessionOf(path)}`
  if (!lease) return `${name} is held by nobody`
  const text = `${name} is held by node ${lease.nodeId}, for ${secondsSince(lease.lockedAt)} s`
  return lease.stale ? `${text}, and is stale: nothing was renewed for ${secondsSince(lease.renewedAt)} s` : text
}

function judge(holders, lease) {
  // Node ids end with the process id: see `createDatabase`.
  const isRightful = ({ pid }) => lease?.nodeId.endsWith(`-${pid}`)
  const strangers = holders.filter((holder) => !isRightful(holder))
  if (strangers.length > 0) return closeIt(strangers.map(({ pid }) => pid).join(' and '))
  if (holders.length > 0 && lease.stale) return endIt(holders[0].pid)
  if (holders.length > 0) return nothingToDo('it is at work, and the others wait for it')
  if (lease?.stale) return nothingToDo('its holder is gone, and whoever wants the file next takes the lease over')
  if (lease)
    return nothingToDo('the file is about to be opened, or its holder has crashed and the lease goes stale soon')
  return nothingToDo('the file is free')
}

function nothingToDo(why) {
  return { isWell: true, advice: `Nothing to do: ${why}.` }
}

function closeIt(pid) {
  const advice = `Process ${pid} has the file open without the lease: close it there, and open it through database.mjs.`
  return { isWell: false, advice: `${advice} Until then the web app answers 503.` }
}

function endIt(pid) {
  const advice = `Process ${pid} hangs or is stopped: let it go on, or end it (kill -9 ${pid}).`
  return { isWell: false, advice: `${advice} What it has not committed is rolled back then.` }
}

function secondsSince(at) {
  return ((Date.now() - at) / 1000).toFixed(1)
}
