/**
 * The show: `npm run example -- whatsapp-session-bot`, or with DATABASE_URL set `node main.mjs`. Ends with code 0 only if
 * session-lock has kept all its promises. It drops every table whose name begins with `whatsapp_bot_` first.
 */
import { createPool } from 'mysql2/promise'
import { readSettings } from './settings.mjs'
import { changeOver } from './show/change-over.mjs'
import { killInTheMiddle } from './show/killed-bot.mjs'
import { MESSAGES, PROSPECTS, sendTraffic } from './show/traffic.mjs'

/** Short, so that nobody need wait for 30 s. */
const STALE_AFTER_MS = 6000
/** By then all has long been delivered, or something is wrong. */
const TIME_LIMIT_MS = 150_000

const { databaseUrl } = readSettings('DATABASE_URL')
const database = createPool({ uri: databaseUrl })
const problems = []

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))
setTimeout(() => {
  console.error('The show takes too long, and is given up: something that it waits for never came.')
  process.exit(1)
}, TIME_LIMIT_MS).unref()

await dropTables()
await showOldWay()
await showSessionLock()
await showKilledBot()
await dropTables()
await showChangeOver()
await dropTables()
await database.end()
conclude()

async function showOldWay() {
  console.log('\nThe old way: INSERT … ON DUPLICATE KEY UPDATE is taken for a lock.')
  console.log(`${PROSPECTS} prospects write ${MESSAGES} messages, and each is delivered twice at once, to two bots.`)
  printAnswers(await sendTraffic({ program: 'old-way.mjs', databaseUrl }))
}

async function showSessionLock() {
  console.log('\nWith session-lock: the same messages, and the same deliveries.')
  const look = () => countSessions('WHERE id_prospect IS NOT NULL')
  const result = await sendTraffic({ program: 'bot.mjs', databaseUrl, look })
  const left = await countSessions()
  printAnswers(result)
  print('prospects in hand at the same instant', result.most)
  print('rows in whatsapp_bot_sessions at that instant', result.seen)
  print('rows in whatsapp_bot_sessions afterwards', left)
  print('lines BLOCKING DUPLICATE in the logs', result.blocked)
  requireAnswers(result)
  requireThat(result.most === PROSPECTS && result.seen === PROSPECTS, 'prospects blocked each other')
  requireThat(left === 0, 'sessions were left in the table')
  requireThat(result.blocked > 0, 'no duplicate was blocked')
}

async function showKilledBot() {
  console.log(`\nA bot is killed in the middle of an answer. A lease is stale after ${STALE_AFTER_MS / 1000} s here.`)
  const result = await killInTheMiddle({ databaseUrl, staleAfterMs: STALE_AFTER_MS })
  print('times another bot was given the message before, and answered 409', result.refusedAfterMs.length)
  print('  the first time after waiting so many milliseconds for its turn', result.refusedAfterMs[0])
  print('takeovers once the lease was stale', result.takeovers)
  printAnswers({ ...result, messages: 1 })
  requireThat(result.refusedAfterMs.length > 0, 'the lease was taken over while it was live')
  requireThat(result.takeovers === 1, 'the stale lease was not taken over')
  requireAnswers({ ...result, messages: 1 })
}

async function showChangeOver() {
  console.log('\nFrom the old lock table to session-lock, while messages come in.')
  const say = (line) => console.log(`  ${line}`)
  const result = await changeOver({ databaseUrl, staleAfterMs: STALE_AFTER_MS, say })
  printAnswers(result)
  print('sessions in the hands of old bots when the new ones came', result.inOldHands)
  print('refused by a new bot while an old one had the session', result.refused)
  print('recognised by a new bot as answered by an old one', result.recognised)
  requireAnswers(result)
  requireThat(result.inOldHands > 0 && result.refused > 0 && result.recognised > 0, 'old and new bots never met')
}

function printAnswers({ messages, once, moreThanOnce, never, overlapping }) {
  print('messages', messages)
  print('  answered once', once)
  print('  answered more than once', moreThanOnce)
  print('  never answered', never)
  print('handlers that began beside another one of their prospect', overlapping)
}

function print(name, value) {
  console.log(`  ${name.padEnd(66)} ${String(value).padStart(5)}`)
}

function requireAnswers({ messages, once, overlapping }) {
  requireThat(once === messages, 'a message was answered more than once, or never')
  requireThat(overlapping === 0, 'two handlers of one prospect were at work at once')
}

function requireThat(isSo, problem) {
  if (!isSo) problems.push(problem)
}

function conclude() {
  if (problems.length === 0) {
    console.log('\nWith session-lock every message was answered once, and one of a prospect at a time.')
    return
  }
  console.log(`\nFAILED: ${problems.join('; ')}.`)
  process.exitCode = 1
}

async function countSessions(where = '') {
  const [[{ count }]] = await database.query(`SELECT COUNT(*) AS count FROM whatsapp_bot_sessions ${where}`)
  return count
}

async function dropTables() {
  const statement = `SELECT table_name AS name FROM information_schema.tables
    WHERE table_schema = DATABASE() AND table_name LIKE 'whatsapp\\_bot\\_%'`
  const [tables] = await database.query(statement)
  for (const { name } of tables) await database.query(`DROP TABLE \`${name}\``)
}
