/**
 * The same as it is often written, and what goes wrong with it. Every process serves, works, and has one pool for
 * all of it; one of them polls (POLLS=1). Each comment names a fault.
 */
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import pg from 'pg'
import { nextCase } from './decisions.mjs'
import { readDocument } from './read-document.mjs'
import { numberSetting, requireSettings } from './settings.mjs'

requireSettings('DATABASE_URL')

// Sign-ins stand in the same line as uploads and workers.
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 5 })

// In memory: a restart begins at the beginning. By time: rows that share the last one's, or commit late, are skipped.
let lastSeen = '-infinity'

async function poll() {
  const { rows } = await pool.query(
    'SELECT *, created_at::text AS seen FROM incoming WHERE created_at > $1 ORDER BY created_at LIMIT 20',
    [lastSeen],
  )
  for (const { message_id, sender, document, seen } of rows) {
    await pool.query('INSERT INTO jobs (message_id, sender, document) VALUES ($1, $2, $3)', [
      message_id,
      sender,
      document,
    ])
    lastSeen = seen
  }
  return rows.length
}

async function work() {
  // Another worker reads the same rows before either marks them. And a worker that dies leaves them marked for ever.
  const { rows } = await pool.query("SELECT * FROM jobs WHERE status = 'new' ORDER BY id LIMIT 5")
  await Promise.all(rows.map(({ id }) => setStatus(id, 'working')))
  await Promise.all(
    rows.map(async (job) => {
      const isDone = await handle(job).then(() => true, failed)
      await setStatus(job.id, isDone ? 'done' : 'failed')
    }),
  )
  return rows.length
}

async function setStatus(id, status) {
  await pool.query('UPDATE jobs SET status = $2, taken_by = $3 WHERE id = $1', [id, status, process.env.NODE_ID])
}

function failed(error) {
  console.log(`failed: ${error.message}`)
  return false
}

async function handle({ message_id, sender, document }) {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    const decision = await readDocument(document)
    const customerId = await findOrAddCustomer(client, sender)
    await client.query('INSERT INTO documents (message_id, customer_id, decision) VALUES ($1, $2, $3)', [
      message_id,
      customerId,
      decision,
    ])
    // Read, then write: what others have written in between is lost.
    const { rows } = await client.query('SELECT * FROM cases WHERE customer_id = $1', [customerId])
    const { state, accepted, refused } = nextCase(rows[0], decision)
    await client.query('UPDATE cases SET state = $2, accepted = $3, refused = $4 WHERE customer_id = $1', [
      customerId,
      state,
      accepted,
      refused,
    ])
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

/** Two find nothing, both add. */
async function findOrAddCustomer(client, address) {
  const email = address.trim().toLowerCase()
  const found = await client.query('SELECT id FROM customers WHERE email = $1', [email])
  if (found.rows.length > 0) return found.rows[0].id
  const { rows } = await client.query('INSERT INTO customers (email) VALUES ($1) RETURNING id', [email])
  await client.query('INSERT INTO cases (customer_id) VALUES ($1)', [rows[0].id])
  return rows[0].id
}

const app = express()
app.use(express.json())
app.post('/sign-in', async (req, res) => {
  const customerId = await findOrAddCustomer(pool, req.body.email)
  await pool.query("INSERT INTO sign_in_links VALUES ($1, $2, now() + interval '15 minutes')", [
    createHash('sha256').update(randomBytes(32)).digest(),
    customerId,
  ])
  res.sendStatus(202)
})
app.post('/documents', async (req, res) => {
  const { messageId, sender, document } = req.body
  await handle({ message_id: messageId, sender, document })
  res.sendStatus(200)
})
app.use((error, _req, res, _next) => {
  failed(error)
  res.sendStatus(500)
})

async function again(step) {
  for (;;) {
    const found = await step().catch(failed)
    if (!found) await sleep(50)
  }
}

const server = app.listen(numberSetting('PORT', 3000), () => {
  console.log(`the old way listens on port ${server.address().port}`)
  void again(work)
  if (process.env.POLLS) void again(poll)
})
