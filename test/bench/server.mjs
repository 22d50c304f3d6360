/**
 * The bot under test: Express 5 with a handler that does nothing, so that what is measured is the way
 * to it. Started with a JSON of `{ options?, locks? }`: options of the lock, absent for bare Express, and
 * how many locks the requests are spread over.
 *
 * GET /stats tells what the lock has counted, GET /usage the CPU time of this process so far.
 */
import express from 'express'
import { pino } from 'pino'
import { createSessionLock, sessionLock } from 'session-lock'

const { options, locks: count = 1 } = JSON.parse(process.argv[2] ?? '{}')
const logger = pino({ level: 'warn' })
const locks = options ? Array.from({ length: count }, () => createSessionLock({ ...options, logger })) : []
for (const lock of locks) await lock.ready()

const app = express()
app.use('/webhook', express.json(), ...(locks.length > 0 ? [spread(locks.map((lock) => sessionLock(lock)))] : []))
app.post('/webhook', (_req, res) => res.sendStatus(200))
app.get('/stats', async (_req, res) => res.json(locks[0] ? await locks[0].stats() : {}))
app.get('/usage', (_req, res) => {
  const { user, system } = process.cpuUsage()
  res.json({ cpuMs: (user + system) / 1000 })
})
const server = app.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))

process.once('SIGTERM', async () => {
  server.close()
  await Promise.all(locks.map((lock) => lock.close()))
  process.exit()
})

/** One after another: right only where no two requests are of one session. */
function spread(middlewares) {
  if (middlewares.length === 1) return middlewares[0]
  let next = 0
  return (req, res, go) => {
    next = (next + 1) % middlewares.length
    middlewares[next](req, res, go)
  }
}
