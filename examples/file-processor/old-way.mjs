/**
 * The same node as people write it without session-lock. Do not copy it.
 *
 *   node old-way.mjs             processes files
 *   node old-way.mjs clean-up    queues again what has been "processing" for too long, as a cron job does
 */
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool } from 'mysql2/promise'
import { pino } from 'pino'
import { processFile } from './process-file.mjs'
import { settings } from './settings.mjs'

const { serverId, tablePrefix, filesDirectory, pauseMs, pollMs, staleAfterMs } = settings
const log = pino({ base: { serverId } })
const pool = createPool({ uri: settings.databaseUrl, timezone: 'Z' })
const table = `${tablePrefix}files`

if (process.argv[2] === 'clean-up') {
  // It cannot know whether whoever began is dead, or only slow.
  const [{ affectedRows }] = await pool.query(
    `UPDATE ${table} SET status = 'queued', server_id = NULL
     WHERE status = 'processing' AND started_at < UTC_TIMESTAMP(3) - INTERVAL ? MICROSECOND`,
    [staleAfterMs * 1000],
  )
  log.info({ files: affectedRows }, 'cleaned up')
  await pool.end()
} else {
  await pool.query('SELECT 1')
  log.info('the node works')
  for (;;) if (!(await takeOne())) await sleep(pollMs * (0.5 + Math.random()))
}

async function takeOne() {
  const [[file]] = await pool.query(`SELECT id, name FROM ${table} WHERE status = 'queued' ORDER BY id LIMIT 1`)
  if (!file) return false
  // Between the two statements every other node can read the same row.
  await pool.query(
    `UPDATE ${table} SET status = 'processing', server_id = ?, started_at = UTC_TIMESTAMP(3) WHERE id = ?`,
    [serverId, file.id],
  )
  const line = { file: file.id, name: file.name }
  log.info(line, 'file started')
  const startedAt = performance.now()
  try {
    const { sizeBytes, words, sha256 } = await processFile(join(filesDirectory, file.name), { pauseMs })
    await pool.query(
      `UPDATE ${table} SET status = 'completed', finished_at = UTC_TIMESTAMP(3), took_ms = ?, size_bytes = ?,
         words = ?, sha256 = ? WHERE id = ?`,
      [Math.round(performance.now() - startedAt), sizeBytes, words, sha256, file.id],
    )
    log.info(line, 'file completed')
  } catch (error) {
    await pool.query(`UPDATE ${table} SET status = 'failed', error = ? WHERE id = ?`, [error.message, file.id])
    log.warn({ ...line, error: error.message }, 'file failed')
  }
  return true
}
