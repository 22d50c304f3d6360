/**
 * A bot for the WhatsApp Cloud API that answers every message once, however often it is delivered,
 * and one message of a conversation at a time. Copy it, and put your own work into `answer`.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { createSessionLock, sessionLock, whatsappHandshake } from 'session-lock'
import { adminRouter, basicAuth } from 'session-lock/admin'

const { APP_SECRET, VERIFY_TOKEN, ACCESS_TOKEN, ADMIN_PASSWORD } = process.env
const { GRAPH_API_URL = 'https://graph.facebook.com', PORT = '3000' } = process.env

for (const name of ['APP_SECRET', 'VERIFY_TOKEN', 'ACCESS_TOKEN']) {
  if (process.env[name]) continue
  console.error(`${name} is not set: see README.md for what it is and where to find it`)
  process.exit(1)
}

// The store comes from SESSION_LOCK_URL. Naming the provider has every POST's signature checked, also
// of those that look like no delivery of WhatsApp.
const lock = createSessionLock({ provider: 'whatsapp-cloud', secret: APP_SECRET, maskProspects: true })

const app = express()
app.get('/webhook', whatsappHandshake(VERIFY_TOKEN))
app.post('/webhook', sessionLock(lock), async (req, res) => {
  for (const { message, phoneNumberId } of textMessages(req.body)) {
    await answer(message, phoneNumberId, req.sessionLock)
  }
  // Only now: until then the message is not handled, and Meta delivers again what was not answered 200.
  res.sendStatus(200)
})

// Who holds what, and what failed; only where there is a password, and over HTTPS only.
const admin = ADMIN_PASSWORD ? adminRouter({ lock, authorize: basicAuth({ admin: ADMIN_PASSWORD }) }) : undefined
if (admin) app.use('/locks', admin)

/** The body holds only what is to be handled: sessionLock() has taken out what was handled before. */
function* textMessages(body) {
  for (const entry of body?.entry ?? []) {
    for (const { value } of entry.changes ?? []) {
      for (const message of value?.messages ?? []) {
        if (message.type === 'text') yield { message, phoneNumberId: value.metadata.phone_number_id }
      }
    }
  }
}

async function answer(message, phoneNumberId, { signal, fencingToken }) {
  // The end of the id is enough to find it by: the whole of it holds the sender's number.
  const name = `message …${message.id.slice(-6)}`
  // Where you write to a database, write the token too, and refuse a smaller one.
  console.log(`handling ${name} with fencing token ${fencingToken}`)
  const text = await askModel(message.text.body, signal)
  await sendReply(phoneNumberId, message.from, text, signal)
  console.log(`answered ${name}`)
}

/** Stands for the call of a language model: slow, and given up once the lease is lost. */
async function askModel(text, signal) {
  await sleep(2000, undefined, { signal })
  return `You said: ${text}`
}

/** A reply that could not be sent throws: the answer is 500, and the redelivery is handled again. */
async function sendReply(phoneNumberId, to, text, signal) {
  const response = await fetch(`${GRAPH_API_URL}/v23.0/${phoneNumberId}/messages`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${ACCESS_TOKEN}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ messaging_product: 'whatsapp', to, type: 'text', text: { body: text } }),
    signal,
  })
  const body = await response.text()
  if (!response.ok) throw new Error(`the Graph API answered ${response.status}: ${body}`)
}

const server = app.listen(Number(PORT), (error) => {
  if (error) throw error
  console.log(`the bot listens on port ${server.address().port}`)
})

/** Messages in hand are handled to their end; new ones are refused, and come again to the next process. */
async function shutDown() {
  console.log('shutting down')
  admin?.close()
  server.close()
  await lock.close()
  // Else connections that are kept alive would keep this process alive too.
  server.closeIdleConnections()
}
process.once('SIGTERM', shutDown)
process.once('SIGINT', shutDown)
