/**
 * The same app as it is often written: the column `status` is the lock. It looks as if a note that is marked
 * 'processing' were safe from others, and it is not.
 *
 * Between the SELECT and the UPDATE another process can have found the same notes, and pays for them too. Marking all
 * of them in one statement right after the SELECT makes that gap smaller and leaves it open. And whoever dies leaves
 * its note in 'processing', where nobody looks for work: its lock has no end.
 */
import express from 'express'
import pg from 'pg'
import { askModel } from './ask-model.mjs'
import { TABLE } from './table.mjs'

const { DATABASE_URL, MODEL_URL, NODE_ID, PORT = '3000' } = process.env

const pool = new pg.Pool({ connectionString: DATABASE_URL })
const app = express()

app.post('/users/:user/process', async (req, res) => {
  const { rows: notes } = await pool.query(
    `SELECT * FROM ${TABLE} WHERE user_id = $1 AND status = 'pending' ORDER BY id LIMIT $2`,
    [req.params.user, Number(req.query.count)],
  )
  for (const note of notes) {
    await pool.query(`UPDATE ${TABLE} SET status = 'processing', node = $2, attempts = attempts + 1 WHERE id = $1`, [
      note.id,
      NODE_ID,
    ])
    const summary = await askModel({ modelUrl: MODEL_URL, node: NODE_ID, note })
    await pool.query(`UPDATE ${TABLE} SET status = 'completed', summary = $2 WHERE id = $1`, [note.id, summary])
  }
  res.json({ results: notes.map(({ id }) => ({ id, status: 'processed' })) })
})

const server = app.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error
  console.log(`the app listens on http://127.0.0.1:${server.address().port}`)
})

process.once('SIGTERM', async () => {
  server.close()
  server.closeIdleConnections()
  await pool.end()
})
