/**
 * A web app that has an expensive model summarise notes, each of them once, however many processes of it run and
 * whichever of them dies. Copy it, and put the call of your own model into ask-model.mjs.
 */
import express from 'express'
import pg from 'pg'
import { ClosedError, createSessionLock, StoreError } from 'session-lock'
import { askModel } from './ask-model.mjs'
import { createNotes } from './notes.mjs'
import { refuseOtherSites } from './other-sites.mjs'
import { PAGE_HEADERS, pageOf } from './page.mjs'
import { addNotes, createTable } from './table.mjs'

const MOST_AT_ONCE = 20
const LONGEST_WAIT_MS = 30_000
/** What Postgres says of a NUL in a text. */
const NOT_A_TEXT = '22021'

const { DATABASE_URL, MODEL_URL, PORT = '3000', LOCK_WAIT_MS = '2000', STALE_AFTER_MS = '30000' } = process.env

for (const name of ['DATABASE_URL', 'MODEL_URL']) {
  if (process.env[name]) continue
  console.error(`${name} is not set: see README.md for what it is`)
  process.exit(1)
}

const lock = createSessionLock({
  store: DATABASE_URL,
  lockWaitMs: Number(LOCK_WAIT_MS),
  staleAfterMs: Number(STALE_AFTER_MS),
})
const pool = new pg.Pool({ connectionString: DATABASE_URL })
// A connection that breaks while nobody uses it: the pool makes another one.
pool.on('error', (error) => lock.log.warn({ err: error }, 'a connection to the database broke'))
await prepare()

const node = lock.options.nodeId
const summarise = (note, signal) => askModel({ modelUrl: MODEL_URL, node, note, signal })
const notes = createNotes({ pool, lock, summarise })

const app = express()
app.use(refuseOtherSites)

app.get('/', async (_req, res) => {
  res.set(PAGE_HEADERS).send(pageOf(await notes.overview()))
})

app.post('/users/:user/notes', express.json(), async (req, res) => {
  const texts = req.body?.notes
  const isRight = Array.isArray(texts) && texts.length > 0 && texts.every((text) => typeof text === 'string')
  if (isRight) res.status(201).json(await addNotes(pool, req.params.user, texts))
  else refuse(res, 400, 'Post the notes as JSON: { "notes": ["a text", "another one"] }.')
})

app.post('/users/:user/process', async (req, res) => {
  const count = wholeNumber(req.query.count ?? '1', 1, MOST_AT_ONCE)
  if (count === undefined) refuse(res, 400, `Give a count from 1 to ${MOST_AT_ONCE}: ?count=5.`)
  else res.json({ results: (await notes.next(req.params.user, count)).map(shown) })
})

app.param('id', async (req, res, next, given) => {
  const id = wholeNumber(given, 1, 2 ** 31 - 1)
  req.note = id === undefined ? undefined : await notes.get(id)
  if (req.note) next()
  else refuse(res, 404, 'There is no such note.')
})

app.get('/notes/:id', (req, res) => res.json(req.note))

app.post('/notes/:id/process', async (req, res) => {
  const { id } = req.note
  const asked = req.query.lockWaitMs
  const lockWaitMs = asked === undefined ? lock.options.lockWaitMs : wholeNumber(asked, 0, LONGEST_WAIT_MS)
  if (lockWaitMs === undefined) return refuse(res, 400, `Give a lockWaitMs from 0 to ${LONGEST_WAIT_MS}.`)
  const result = await notes.one(id, { lockWaitMs })
  if (result.status === 'processed') return res.json(result.value)
  if (result.status === 'failed') return refuse(res, 502, shown(result).error)
  if (result.status === 'busy') return refuseBusy(res, result.retryAfterMs)
  // Nothing was left to be done by the time this process had the lease.
  const note = await notes.get(id)
  if (note?.status === 'completed') return res.json(note)
  if (note?.status === 'failed') return refuse(res, 409, `The note has failed: POST /notes/${id}/retry first.`)
  return refuseBusy(res, 0)
})

app.post('/notes/:id/retry', async (req, res) => {
  const note = await notes.retry(req.note.id)
  if (note) answerForm(req, res, note)
  else refuse(res, 409, 'Only a note that has failed can be retried.')
})

app.post('/reset-stuck', async (req, res) => answerForm(req, res, { reset: await notes.resetStuck() }))

app.use((error, _req, res, _next) => {
  const isAway = error instanceof StoreError || error instanceof ClosedError
  const status = isAway ? 503 : error.code === NOT_A_TEXT ? 400 : (error.status ?? 500)
  if (status >= 500) lock.log.error({ err: error }, 'a request failed')
  if (isAway) res.set('Retry-After', '5')
  refuse(res, status, status < 500 ? error.message : 'That did not work: the log says why. Try again later.')
})

/** Postgres refuses two processes that make one table at the same time; so only one makes it. */
async function prepare() {
  const lockWaitMs = 2 * lock.options.staleAfterMs
  const made = await lock.run({ session: 'notes-table' }, () => createTable(pool), { lockWaitMs })
  if (made.status !== 'processed') throw new Error('another process has been making the table of notes for too long')
}

function wholeNumber(text, least, most) {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN
  return number >= least && number <= most ? number : undefined
}

/** A row's result, as JSON can say it. */
function shown({ id, status, takeover, error }) {
  if (status !== 'failed') return { id, status, takeover }
  return { id, status, error: String(error?.message ?? error) }
}

function refuse(res, status, error) {
  return res.status(status).json({ error })
}

function refuseBusy(res, retryAfterMs) {
  res.set('Retry-After', String(Math.max(1, Math.ceil(retryAfterMs / 1000))))
  return refuse(res, 409, 'Another process has this note in hand. Ask again later.')
}

/** A browser that posted the page's form is shown the page again; a program gets JSON. */
function answerForm(req, res, value) {
  if (req.accepts(['json', 'html']) === 'html') res.redirect(303, '/')
  else res.json(value)
}

// There is no login here: put one in front before others may reach it.
const server = app.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error
  console.log(`the app listens on http://127.0.0.1:${server.address().port}`)
})

/** Notes in hand are processed to their end; new ones are refused. */
async function shutDown() {
  console.log('shutting down')
  server.close()
  await lock.close()
  // Else connections that are kept alive would keep this process alive too.
  server.closeIdleConnections()
  await pool.end()
}
process.once('SIGTERM', shutDown)
process.once('SIGINT', shutDown)
