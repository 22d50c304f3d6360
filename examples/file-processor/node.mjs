/**
 * One node of the file processor. Start as many as you like, on as many machines as share the database and the
 * directory: every file is processed by one of them, one at a time on each. Copy it, and put your work into
 * process-file.mjs.
 */
import { lstat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import express from 'express'
import { createPool } from 'mysql2/promise'
import { pino } from 'pino'
import { createSessionLock } from 'session-lock'
import { createRowClaims } from 'session-lock/rows'
import { processFile } from './process-file.mjs'
import { settings } from './settings.mjs'
import { filesTable } from './table.mjs'

const { serverId, tablePrefix, filesDirectory, pauseMs, pollMs, staleAfterMs, maxHoldMs } = settings

const log = pino({ base: { serverId } })
const pool = createPool({ uri: settings.databaseUrl, timezone: 'Z' })
const files = filesTable(pool, tablePrefix)
const lock = createSessionLock({
  store: settings.databaseUrl,
  nodeId: serverId,
  tablePrefix,
  staleAfterMs,
  maxHoldMs,
  // At "info" it would tell of every file that is in another node's hands.
  logger: log.child({}, { level: 'warn' }),
})

let isDraining = false
let wake = () => {}

const claims = createRowClaims({
  lock,
  name: 'files',
  // A drain that begins between a claim and this leaves the file to the next node.
  read: (id) => (isDraining ? undefined : files.read(id)),
  handle: processUnderLease,
})

async function processUnderLease({ id, name }, { fencingToken, signal, takeover }) {
  if (!(await files.begin(id, { serverId, fencingToken }))) return
  const line = { file: id, name, fencingToken }
  log.info({ ...line, takeover }, 'file started')
  const startedAt = performance.now()
  const { error, ...result } = await processFile(join(filesDirectory, name), { pauseMs, signal }).catch(asError)
  const tookMs = Math.round(performance.now() - startedAt)
  // What the database refuses to write throws: the file is neither completed nor failed, and is processed again.
  if (!signal.aborted && error && (await files.fail(id, { fencingToken, tookMs, error }))) {
    log.warn({ ...line, tookMs, error }, 'file failed')
  } else if (!signal.aborted && !error && (await files.complete(id, { fencingToken, tookMs, ...result }))) {
    log.info({ ...line, tookMs }, 'file completed')
  } else log.warn(line, 'file given up: the lease was lost, and another node may have it by now')
}

function asError({ message }) {
  return { error: message }
}

/** One file after the other, until this node is told to end. */
async function work() {
  while (!isDraining) {
    const done = await takeOne()
    if (!done) await restOrWake()
  }
}

/** Whether there was a file, and all went well; else there is no hurry. */
async function takeOne() {
  try {
    const [result] = await claims.next((page) => (isDraining ? [] : files.wanted(page)))
    if (result?.status === 'failed') throw result.error
    return result !== undefined
  } catch (error) {
    log.error({ error: error.message }, 'the database could not be asked; trying again')
    return false
  }
}

function restOrWake() {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, pollMs)
    wake = () => {
      clearTimeout(timer)
      resolve()
    }
  })
}

/** Puts back what dead nodes held. What a living node has in hand stays there, however long it takes. */
async function cleanUp() {
  const putBack = []
  for (const { id, nodeId, fencingToken } of await claims.releaseStale()) {
    const file = Number(id)
    if (await files.putBack(file, { fencingToken })) putBack.push({ file, heldBy: nodeId })
  }
  const removed = await lock.cleanup()
  if (putBack.length > 0) wake()
  return { putBack, removed }
}

const app = express()

app.post('/files', express.json(), async (req, res) => {
  const name = req.body?.name
  if (!isFileName(name)) {
    res.status(400).json({ error: 'Send {"name": "…"} with the name of a file in the directory, without a path.' })
  } else if (!(await isFile(name))) {
    res.status(404).json({ error: 'There is no such file in the directory: put it there before you queue it.' })
  } else {
    const id = await files.add(name)
    wake()
    res.status(202).json({ id, name, status: 'queued' })
  }
})
app.get('/files', async (_req, res) => res.json(await files.list()))
app.get('/stats', async (_req, res) => res.json(await files.stats()))
app.post('/cleanup', async (_req, res) => res.json(await cleanUp()))

app.use((error, _req, res, _next) => {
  if (error.status === undefined) log.error({ error: error.message }, 'a request failed')
  res.status(error.status ?? 500).json({ error: error.status ? error.message : 'It failed: the log says why.' })
})

function isFileName(name) {
  const isText = typeof name === 'string' && name !== '' && name.length <= 255 && !name.includes('\0')
  return isText && basename(name) === name && name !== '.' && name !== '..'
}

/** A link is no file: it could lead out of the directory. */
async function isFile(name) {
  const found = await lstat(join(filesDirectory, name)).catch(() => undefined)
  return found?.isFile() ?? false
}

await files.create()
await lock.ready()

const working = work()
const server = app.listen(settings.port, settings.host, (error) => {
  if (error) throw error
  log.info({ port: server.address().port, tablePrefix, staleAfterMs }, 'the node listens')
})

/** Takes no more files and finishes the one in hand. A node started beside this one goes on with the rest. */
async function drain() {
  log.info('draining: the file in hand is finished, and no other is taken')
  isDraining = true
  wake()
  const closed = new Promise((resolve) => server.close(resolve))
  await working
  server.closeIdleConnections()
  await closed
  await lock.close()
  await pool.end()
  log.info('drained')
}
process.once('SIGTERM', drain)
process.once('SIGINT', drain)
