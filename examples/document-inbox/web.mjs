/**
 * The web part: signing in and the dead letters on one port, uploads on another.
 *
 * Signing in has a reserve that uploads and workers cannot use up, because nothing of it is shared:
 * - Connections to the database. A small pool is for sign-ins alone, and open from the start. Uploads go through the
 *   one connection on which session-lock receives, however many they are; workers are other processes.
 * - Connections of browsers. They are accepted one after the other, and on one port sign-ins would stand in line
 *   behind every upload. Two ports are two lines.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import express from 'express'
import pg from 'pg'
import { getOrCreateCustomer } from './customers.mjs'
import { openInbox, openLock } from './document-inbox.mjs'
import { numberSetting, requireSettings } from './settings.mjs'

requireSettings('DATABASE_URL', 'ADMIN_TOKEN')
const { DATABASE_URL, ADMIN_TOKEN } = process.env

const lock = openLock()
// Never started: this process stores documents, and the workers handle them.
const inbox = openInbox(lock)
const signIns = new pg.Pool({
  connectionString: DATABASE_URL,
  max: numberSetting('SIGN_IN_CONNECTIONS', 3),
  // Never closed for being idle: a new one is not to be had when the database is full.
  idleTimeoutMillis: 0,
  // Nobody waits for longer at a sign-in; an answer that says so is better than none.
  connectionTimeoutMillis: 5000,
  statement_timeout: 5000,
})
// A connection that breaks while nobody uses it is replaced; unheard, its error would end the process.
signIns.on('error', (error) => console.error(`a connection was lost: ${error.message}`))

/** Whether it exists, only a mail can tell. */
const ADDRESS = /^[^\p{C}\s@]+@[^\p{C}\s@]+$/u

const site = express()
const uploads = express()

site.post('/sign-in', express.json({ limit: '4kb' }), async (req, res) => {
  const email = req.body?.email
  if (typeof email !== 'string' || email.length > 320 || !ADDRESS.test(email)) {
    res.status(422).json({ error: 'Send JSON with your address: { "email": "name@example.com" }.' })
    return
  }
  const customerId = await getOrCreateCustomer(signIns, email)
  const token = randomBytes(32)
  await signIns.query(
    "INSERT INTO sign_in_links (token_hash, customer_id, expires_at) VALUES ($1, $2, now() + interval '15 minutes')",
    [hashOf(token), customerId],
  )
  await mailLink(email, token.toString('base64url'))
  res.status(202).json({ message: 'We have sent you a link. Open it to sign in.' })
})

// 200: it is on disk, and will be handled. 503 and Retry-After: as many are being stored as may be.
uploads.post('/documents', inbox.receive(), (_req, res) => {
  const error =
    'Send JSON with three texts: { "messageId": …, "sender": …, "document": … }; the id has at most 512 bytes.'
  res.status(422).json({ error })
})

/** Documents that failed as often as they may, or whose worker died as often. The latest hundred. */
site.get('/dead', requireAdmin, async (_req, res) => {
  const dead = await lock.messages({ status: 'dead' })
  res.json(dead.map(({ messageId, lastError, finishedAt }) => ({ id: messageId, lastError, diedAt: finishedAt })))
})

site.post('/dead/:id/retry', requireAdmin, async (req, res) => {
  const queued = await inbox.retry(req.params.id)
  if (queued > 0) res.status(202).json({ message: 'The document is queued again.' })
  else res.status(404).json({ error: 'No dead document has this id. GET /dead lists them.' })
})

for (const app of [site, uploads]) app.use(answerError)

function answerError(error, _req, res, next) {
  if (res.headersSent) return next(error)
  // What a body parser has refused.
  if (error.status < 500) return res.status(error.status).json({ error: 'The body cannot be read: send JSON.' })
  console.error(`failed to answer: ${error.message}`)
  res
    .set('Retry-After', '2')
    .status(503)
    .json({ error: 'This is not possible at the moment. Try again in a few seconds.' })
}

/** Put your own sign-in of staff in its place, where you have one. */
function requireAdmin(req, res, next) {
  const [scheme, token = ''] = (req.get('authorization') ?? '').split(' ')
  // Hashes have one length, so that the comparison takes the same time for all.
  if (scheme === 'Bearer' && timingSafeEqual(hashOf(token), hashOf(ADMIN_TOKEN))) next()
  else res.status(401).set('WWW-Authenticate', 'Bearer').json({ error: 'Send the token of the administrators.' })
}

function hashOf(secret) {
  return createHash('sha256').update(secret).digest()
}

/** Stands for your mail service, which sends the token in a link. */
async function mailLink(_email, _token) {}

/** Opens all of them now, so that they are there when they are needed. */
async function openConnections(pool) {
  const clients = await Promise.all(Array.from({ length: pool.options.max }, () => pool.connect()))
  for (const client of clients) client.release()
}

await Promise.all([lock.ready(), openConnections(signIns)])
const servers = await Promise.all([
  listen(site, 'the web part', numberSetting('PORT', 3000)),
  listen(uploads, 'the part for uploads', numberSetting('UPLOAD_PORT', 3001)),
])

function listen(app, name, port) {
  return new Promise((resolve, reject) => {
    const server = app.listen(port, (error) => {
      if (error) return reject(error)
      console.log(`${name} listens on port ${server.address().port}`)
      resolve(server)
    })
  })
}

/** Requests in hand are answered; new ones go to the next process. */
async function shutDown() {
  console.log('shutting down')
  await Promise.all(servers.map(close))
  await Promise.all([lock.close(), signIns.end()])
}
process.once('SIGTERM', shutDown)
process.once('SIGINT', shutDown)

function close(server) {
  const closed = new Promise((resolve) => server.close(resolve))
  server.closeIdleConnections()
  return closed
}
