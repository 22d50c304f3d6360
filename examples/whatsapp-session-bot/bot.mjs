/**
 * A WhatsApp bot behind Gowa that answers every message once, however often it is delivered, and one message of a
 * prospect at a time, on as many processes as share the database. Put your own work into `answer.mjs`.
 */
import express from 'express'
import { createPool } from 'mysql2/promise'
import { createSessionLock, sessionLock } from 'session-lock'
import { adoptOldLock } from './adopt.mjs'
import { createAnswering, readMessage } from './answer.mjs'
import { serve } from './serve.mjs'
import { readSettings } from './settings.mjs'

const { databaseUrl, gatewayUrl, modelUrl, webhookSecret, port, staleAfterMs, oldLockTable } = readSettings(
  'DATABASE_URL',
  'GATEWAY_URL',
  'MODEL_URL',
  'WEBHOOK_SECRET',
)

const database = createPool({ uri: databaseUrl })
const answering = createAnswering({ database, modelUrl, gatewayUrl })

const lock = createSessionLock({
  store: databaseUrl,
  // Who holds what stands in whatsapp_bot_sessions, what was handled in whatsapp_bot_messages.
  tablePrefix: 'whatsapp_bot_',
  // Naming the provider has every POST's signature checked.
  provider: 'gowa',
  secret: webhookSecret,
  lockWaitMs: 2000,
  staleAfterMs,
  maskProspects: true,
})

// Only while bots of the old kind are still at work: see README.md.
const adoption = oldLockTable
  ? adoptOldLock({ database, table: oldLockTable, readMessage, wasAnswered: answering.wasAnswered, log: lock.log })
  : undefined

const app = express()
app.use('/webhook', sessionLock(lock))
app.post('/webhook', adoption ? adoption.around(handle) : handle)

async function handle(req, res) {
  const message = readMessage(req.body)
  if (message) await answering.answer(message, req.sessionLock.signal)
  // Only now: until then the message is not handled, and Gowa delivers again what was not answered 2xx.
  res.sendStatus(200)
}

await Promise.all([lock.ready(), answering.createTable(), adoption?.ready()])
serve(app, { port, finish: () => lock.close(), end: () => database.end() })
