/**
 * From the bot's own lock table to session-lock, while bots of both kinds are at work. README.md says how, and what is
 * promised meanwhile.
 *
 * Two triggers make the old bots' `INSERT … ON DUPLICATE KEY UPDATE` fail where somebody has the session. So it excludes,
 * and a new bot takes a session from the old ones by that very statement. It never gives it back: its row stays, with a
 * timestamp that is never stale. From then on session-lock alone decides about that session.
 *
 *   node adopt.mjs prepare | status | finish | undo
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { createPool } from 'mysql2/promise'
import { readSettings } from './settings.mjs'

/** What a session of the new bots has for a timestamp. */
const HANDED_OVER = '9999-12-31 23:59:59'
/** The state of a statement that our triggers refused. */
const REFUSED = '45000'
const WAIT_MS = 2000
const LOOK_EVERY_MS = 100
/** The old timestamps are cut to whole seconds: a row may be this much younger than it says. */
const ROUNDING_MS = 1000

/** The old timestamps are UTC. If yours are not, or not text of this form, this is the place to say so. */
const timeOf = (timestamp) => `STR_TO_DATE(${timestamp}, '%Y-%m-%d %H:%i:%s')`
const ageUs = (timestamp) => `TIMESTAMPDIFF(MICROSECOND, ${timeOf(timestamp)}, UTC_TIMESTAMP(6))`
const isStale = (timestamp, staleAfterMs) => `${ageUs(timestamp)} > ${(staleAfterMs + ROUNDING_MS) * 1000}`

/**
 * For the new bots, as long as there are old ones.
 *
 * @param database - a pool of mysql2
 * @param table - the old lock table
 * @param readMessage - gives `{ id, prospect, device }` of a body, named as the old bots name them
 * @param wasAnswered - has a bot, old or new, written down an answer to this message?
 */
export function adoptOldLock({ database, table, readMessage, wasAnswered, log }) {
  async function ready() {
    const { length } = await triggersOf(database, table)
    if (length === 2) return
    throw new Error(`The old bots do not leave sessions of ${table} to this one. Run "node adopt.mjs prepare" first.`)
  }

  /** Around a handler that stands behind session-lock: whoever gets here has the lease. */
  function around(handler) {
    return async (req, res) => {
      const message = readMessage(req.body)
      if (!message) return handler(req, res)
      if (!(await takeOver(message, req.sessionLock.signal))) {
        log.info('refusing a message: an old bot has its session')
        // session-lock takes this for a failure, so the redelivery is handled.
        res
          .set('Retry-After', '1')
          .status(503)
          .type('text')
          .send('An old bot has this session. Deliver it again later.')
      } else if (await wasAnswered(message)) {
        log.info('not answering a message: it was answered before the session was taken over')
        // session-lock takes this for handled, and remembers it from now on.
        res.status(200).end()
      } else await handler(req, res)
    }
  }

  async function takeOver(session, signal) {
    const deadline = performance.now() + WAIT_MS
    while (!(await isHandedOver(session)) && !(await tryToTake(session))) {
      if (performance.now() > deadline) return false
      await sleep(LOOK_EVERY_MS, undefined, { signal })
    }
    return true
  }

  async function isHandedOver({ prospect, device }) {
    const statement = `SELECT timestamp FROM ${table} WHERE id_prospect = ? AND id_device = ?`
    const [[row]] = await database.execute(statement, [prospect, device])
    return row?.timestamp === HANDED_OVER
  }

  async function tryToTake({ prospect, device }) {
    const statement = `INSERT INTO ${table} (id_prospect, id_device, timestamp) VALUES (?, ?, ?)
      ON DUPLICATE KEY UPDATE timestamp = VALUES(timestamp)`
    try {
      await database.execute(statement, [prospect, device, HANDED_OVER])
      return true
    } catch (error) {
      if (error.sqlState === REFUSED) return false
      throw error
    }
  }

  return { ready, around }
}

async function triggersOf(database, table) {
  const statement = `SELECT trigger_name AS name FROM information_schema.triggers
    WHERE trigger_schema = DATABASE() AND event_object_table = ? AND trigger_name IN (?, ?)`
  const [rows] = await database.execute(statement, [table, `${table}_taken`, `${table}_kept`])
  return rows.map(({ name }) => name)
}

/** Makes the old lock exclude, then waits until all who took it before are done, or stale. */
async function prepare(database, table, staleAfterMs) {
  const [[{ unreadable }]] = await database.query(
    `SELECT COUNT(*) AS unreadable FROM ${table} WHERE ${timeOf('timestamp')} IS NULL`,
  )
  if (unreadable > 0) {
    throw new Error(
      `Timestamps in ${table} that cannot be read: ${unreadable}. Delete these rows, or change timeOf() in adopt.mjs.`,
    )
  }
  const present = await triggersOf(database, table)
  if (!present.includes(`${table}_taken`)) {
    await database.query(`CREATE TRIGGER ${table}_taken BEFORE UPDATE ON ${table} FOR EACH ROW
      IF NOT (${isStale('OLD.timestamp', staleAfterMs)}) THEN
        SIGNAL SQLSTATE '${REFUSED}' SET MESSAGE_TEXT = 'Somebody has this session.';
      END IF`)
  }
  // For an old bot that was so slow that its row was stale, and that tidies up after all.
  if (!present.includes(`${table}_kept`)) {
    await database.query(`CREATE TRIGGER ${table}_kept BEFORE DELETE ON ${table} FOR EACH ROW
      IF OLD.timestamp = '${HANDED_OVER}' THEN
        SIGNAL SQLSTATE '${REFUSED}' SET MESSAGE_TEXT = 'A new bot has this session.';
      END IF`)
  }
  const waitMs = staleAfterMs + ROUNDING_MS
  console.log(`The triggers are there. Waiting ${waitMs / 1000} s for those who took a session before …`)
  await sleep(waitMs)
  console.log('Start the new bots now, with OLD_LOCK_TABLE set.')
}

async function countSessions(database, table, staleAfterMs) {
  const [[counts]] = await database.query(
    `SELECT COUNT(*) AS total, COUNT(IF(timestamp = ?, 1, NULL)) AS handedOver,
       COUNT(IF(${isStale('timestamp', staleAfterMs)}, 1, NULL)) AS stale FROM ${table}`,
    [HANDED_OVER],
  )
  return { ...counts, inOldHands: counts.total - counts.handedOver - counts.stale }
}

async function status(database, table, staleAfterMs) {
  const { handedOver, inOldHands, stale } = await countSessions(database, table, staleAfterMs)
  console.log(`Handed over to the new bots: ${handedOver}. In the hands of old bots: ${inOldHands}. Stale: ${stale}.`)
}

/** The end: no old bot runs any more, and no new one has OLD_LOCK_TABLE set. */
async function finish(database, table, staleAfterMs) {
  const { inOldHands } = await countSessions(database, table, staleAfterMs)
  if (inOldHands > 0) throw new Error(`Sessions in the hands of old bots: ${inOldHands}. Stop these bots first.`)
  await database.query(`DROP TABLE ${table}`)
  console.log(`${table} is gone.`)
}

/** The way back: no new bot runs any more. The old ones get all sessions again, and are as they were. */
async function undo(database, table) {
  for (const name of await triggersOf(database, table)) await database.query(`DROP TRIGGER ${name}`)
  await database.execute(`DELETE FROM ${table} WHERE timestamp = ?`, [HANDED_OVER])
  console.log(`${table} belongs to the old bots again.`)
}

async function runCommand(name) {
  const commands = { prepare, status, finish, undo }
  if (!Object.hasOwn(commands, name)) {
    console.error('Say what to do: node adopt.mjs prepare | status | finish | undo')
    return 2
  }
  const { databaseUrl, oldLockTable = 'whatsapp_bot_old_lock', staleAfterMs } = readSettings('DATABASE_URL')
  const database = createPool({ uri: databaseUrl })
  try {
    await commands[name](database, oldLockTable, staleAfterMs)
    return 0
  } catch (error) {
    console.error(error.message)
    return 1
  } finally {
    await database.end()
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = await runCommand(process.argv[2])
