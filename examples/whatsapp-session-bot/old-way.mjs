/**
 * The same bot as it was before: with a lock table of its own. It looks whether somebody has the prospect in hand, waits
 * for up to two seconds, and then takes the lock by `INSERT … ON DUPLICATE KEY UPDATE`. That statement cannot fail:
 * all who have looked before the first one wrote think that the lock is theirs. Nor does it remember what it answered.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { createPool } from 'mysql2/promise'
import { createAnswering, readMessage } from './answer.mjs'
import { serve } from './serve.mjs'
import { readSettings } from './settings.mjs'

const {
  databaseUrl,
  gatewayUrl,
  modelUrl,
  port,
  staleAfterMs,
  oldLockTable: table = 'whatsapp_bot_old_lock',
} = readSettings('DATABASE_URL', 'GATEWAY_URL', 'MODEL_URL')
const WAIT_MS = 2000
const LOOK_EVERY_MS = 100

const database = createPool({ uri: databaseUrl })
const answering = createAnswering({ database, modelUrl, gatewayUrl })

const app = express()
app.post('/webhook', express.json(), async (req, res) => {
  const message = readMessage(req.body)
  if (message && !(await takeLock(message))) {
    console.log('already locked, refusing the message')
    res.sendStatus(503)
    return
  }
  if (message) {
    try {
      await answering.answer(message)
    } finally {
      await releaseLock(message)
    }
  }
  res.sendStatus(200)
})

async function takeLock({ prospect, device }) {
  const deadline = performance.now() + WAIT_MS
  while (await isLocked(prospect, device)) {
    if (performance.now() > deadline) return false
    await sleep(LOOK_EVERY_MS)
  }
  await database.execute(
    `INSERT INTO ${table} (id_prospect, id_device, timestamp) VALUES (?, ?, ?)
     ON DUPLICATE KEY UPDATE timestamp = VALUES(timestamp)`,
    [prospect, device, new Date().toISOString().slice(0, 19).replace('T', ' ')],
  )
  return true
}

async function isLocked(prospect, device) {
  const statement = `SELECT timestamp FROM ${table} WHERE id_prospect = ? AND id_device = ?`
  const [[row]] = await database.execute(statement, [prospect, device])
  return row !== undefined && Date.parse(`${row.timestamp.replace(' ', 'T')}Z`) > Date.now() - staleAfterMs
}

async function releaseLock({ prospect, device }) {
  await database.execute(`DELETE FROM ${table} WHERE id_prospect = ? AND id_device = ?`, [prospect, device])
}

await Promise.all([
  answering.createTable(),
  database.query(`CREATE TABLE IF NOT EXISTS ${table} (
    id_prospect VARCHAR(191) NOT NULL,
    id_device VARCHAR(191) NOT NULL,
    timestamp VARCHAR(32) NOT NULL,
    PRIMARY KEY (id_prospect, id_device)
  )`),
])
serve(app, { port, finish: async () => {}, end: () => database.end() })
