/**
 * What many bots write by hand: one transaction a request, on a connection of the driver's pool, that inserts the
 * message's id, locks the session's row, runs the handler, and commits.
 */
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { messageOf } from '../message-of.mjs'

export async function protect({ url, handler }) {
  const database = url.startsWith('mysql:') ? await openMysql(url) : await openPostgres(url)
  return {
    middleware: [],
    async handler(req, res) {
      const { id, session } = messageOf(req.body)
      const transaction = await database.begin()
      try {
        if (await transaction.insertMessage(id)) {
          await transaction.lockSession(session)
          await handler(req, res)
        }
        await transaction.run('COMMIT')
        if (!res.headersSent) res.sendStatus(200)
      } catch (error) {
        await transaction.run('ROLLBACK')
        throw error
      } finally {
        transaction.release()
      }
    },
    close: () => database.close(),
  }
}

async function openMysql(url) {
  const pool = createPool(url)
  await pool.query('CREATE TABLE IF NOT EXISTS hand_written_messages (id VARCHAR(191) PRIMARY KEY)')
  await pool.query('CREATE TABLE IF NOT EXISTS hand_written_sessions (session VARCHAR(191) PRIMARY KEY)')
  const insert = 'INSERT IGNORE INTO hand_written_messages (id) VALUES (?)'
  const lock = 'INSERT INTO hand_written_sessions (session) VALUES (?) ON DUPLICATE KEY UPDATE session = session'
  return {
    async begin() {
      const connection = await pool.getConnection()
      await connection.query('START TRANSACTION')
      return {
        insertMessage: async (id) => (await connection.execute(insert, [id]))[0].affectedRows === 1,
        lockSession: (session) => connection.execute(lock, [session]),
        run: (sql) => connection.query(sql),
        release: () => connection.release(),
      }
    },
    close: () => pool.end(),
  }
}

async function openPostgres(url) {
  const pool = new pg.Pool({ connectionString: url })
  await pool.query(`
    CREATE TABLE IF NOT EXISTS hand_written_messages (id text PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS hand_written_sessions (session text PRIMARY KEY)`)
  const insert = 'INSERT INTO hand_written_messages (id) VALUES ($1) ON CONFLICT DO NOTHING'
  const lock = `INSERT INTO hand_written_sessions (session) VALUES ($1)
    ON CONFLICT (session) DO UPDATE SET session = EXCLUDED.session`
  return {
    async begin() {
      const client = await pool.connect()
      await client.query('BEGIN')
      return {
        insertMessage: async (id) => (await client.query(insert, [id])).rowCount === 1,
        lockSession: (session) => client.query(lock, [session]),
        run: (sql) => client.query(sql),
        release: () => client.release(),
      }
    },
    close: () => pool.end(),
  }
}
