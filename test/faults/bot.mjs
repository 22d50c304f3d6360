/**
 * A bot whose handlers write down when they begin and end. Started with a JSON of `{ options, journal, longMs }`. It
 * prints `listening <port>`; an unhandled rejection ends it.
 */
import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { pino } from 'pino'
import { createSessionLock, sessionLock } from 'session-lock'

const { options, journal, longMs } = JSON.parse(process.argv[2])
const { pid } = process
const logger = pino({ level: 'fatal' })
const lock = createSessionLock({ ...options, logger })

/** The system's monotonic clock, which all processes share: milliseconds. */
const now = () => Number(process.hrtime.bigint()) / 1e6
const write = (line) => appendFileSync(journal, `${JSON.stringify({ at: now(), pid, ...line })}\n`)

/** When the claims were sent that have been answered last. */
let claimedAt = 0
lock.on('store_call', ({ call, tookMs }) => {
  if (call === 'claim') claimedAt = now() - tookMs
})

lock.on('store_error', ({ error }) => {
  if (/answers to/.test(error.message)) write({ what: 'garbled', text: error.message })
})

const app = express()
app.post('/webhook', express.json(), sessionLock(lock), async (request, response) => {
  const { leases, signal, fencingToken } = request.sessionLock
  const [{ prospect, messageIds, owner }] = leases
  const run = { session: prospect, ids: messageIds, owner }
  write({ what: 'begun', claimedAt, token: fencingToken, ...run })
  const isProbe = prospect.startsWith('probe')
  const forMs = isProbe ? 0 : Math.random() < 0.03 ? longMs * (1.2 + Math.random()) : 10 + Math.random() * 150
  for (let step = 0; step < 4 && !signal.aborted; step += 1) await sleep(forMs / 4)
  const result = signal.aborted ? 'aborted' : !isProbe && Math.random() < 0.1 ? 'failed' : 'completed'
  write({ what: 'ended', result, ...run })
  response.sendStatus(result === 'completed' ? 200 : 500)
})
app.use((_error, _request, response, _next) => response.sendStatus(500))
const server = app.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))
