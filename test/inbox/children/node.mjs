/**
 * A node of the bot: receives, and handles. Started with a JSON of `{ options, inbox, workMs, journal, source?, waits? }`;
 * every end of a handler is a line of the journal, written at once. `source`: a URL that it polls, and that gives pages.
 * `waits`: it begins when it is told to, by a line of standard input. It prints `listening <port>`.
 */
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { pino } from 'pino'
import { createSessionLock } from 'session-lock'
import { createInbox } from 'session-lock/inbox'

const { options, inbox: inboxOptions, workMs, journal, source, waits } = JSON.parse(process.argv[2])
const lock = createSessionLock({ ...options, logger: pino({ level: 'error' }) })
const inbox = createInbox({
  lock,
  async handler(messages, lease) {
    await sleep(workMs)
    const line = {
      ids: messages.map(({ id }) => id),
      session: lease.prospect,
      pid: process.pid,
      token: lease.fencingToken,
    }
    appendFileSync(journal, `${JSON.stringify(line)}\n`)
  },
  ...inboxOptions,
})
process.on('unhandledRejection', (error) => {
  console.log(`unhandledRejection ${error}`)
  process.exit(1)
})
await lock.ready()
if (waits) await once(process.stdin, 'data')
await inbox.start()
if (source) {
  const fetchPage = async (after) => (await fetch(`${source}?after=${encodeURIComponent(after ?? '')}`)).json()
  inbox.poll({ source: 'orders', everyMs: 5, fetch: fetchPage })
}

const app = express()
app.post('/webhook', inbox.receive())
let peakBytes = 0
setInterval(() => {
  peakBytes = Math.max(peakBytes, process.memoryUsage.rss())
}, 20).unref()
app.get('/memory', (_request, response) => response.json({ peakBytes }))
app.post('/bare', (_request, response) => response.sendStatus(200))
const server = app.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))
process.once('SIGTERM', async () => {
  server.close()
  await inbox.stop()
  await lock.close()
  process.exit()
})
