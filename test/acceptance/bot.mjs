/**
 * A WhatsApp bot as a user would write it, in an app of its own. What its handler does stands in the
 * text of the message: `{"sleepMs":500}`, `{"status":401}`, `{"throw":true}` …
 *
 * Every run of the handler goes, one line each, to a file outside the store.
 */
import { appendFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'

const settings = JSON.parse(process.env.BOT)
const { createSessionLock, sessionLock, withSessionLock } =
  settings.load === 'require' ? createRequire(import.meta.url)('session-lock') : await import('session-lock')

const lock = createSessionLock({ logger: false, ...settings.lock })
const note = (entry) =>
  appendFileSync(settings.runs, `${JSON.stringify({ ...entry, pid: process.pid, at: Date.now() })}\n`)
process.on('unhandledRejection', (error) => {
  note({ what: 'unhandledRejection', error: String(error?.stack ?? error) })
  console.error(error)
})
lock.on('lease_lost', ({ messageIds, loss }) => note({ what: 'lost', ids: messageIds, loss }))
lock.on('takeover', ({ messageIds, ageMs }) => note({ what: 'takeover', ids: messageIds, ageMs }))

/** The ids in a body of the Cloud API's shape, and what the first text asks for. */
function read(body) {
  const values = body.entry.flatMap((entry) => entry.changes.map((change) => change.value))
  const messages = values.flatMap((value) => value.messages ?? [])
  const statuses = values.flatMap((value) => value.statuses ?? [])
  const texts = messages.map((message) => message.text?.body).filter((text) => text?.startsWith('{'))
  return {
    ids: [...messages.map(({ id }) => id), ...statuses.map(({ id, status }) => `${id}:${status}`)],
    sessions: messages.map(({ from }) => from),
    task: texts.length > 0 ? JSON.parse(texts[0]) : {},
  }
}

async function handle(request, response) {
  const { ids, sessions, task } = read(request.body)
  const { fencingToken, signal } = request.sessionLock
  note({ what: 'start', ids, sessions, fencingToken })
  signal.addEventListener('abort', () => note({ what: 'aborted', ids, fencingToken }))
  if (task.flush) response.status(200).flushHeaders()
  if (task.sleepMs) await sleep(task.sleepMs)
  note({ what: 'end', ids, sessions, fencingToken })
  if (task.throw) throw new Error('the handler threw')
  if (task.hang) return
  if (task.waitUntilMs) request.sessionLock.waitUntil(sleep(task.waitUntilMs).then(() => note({ what: 'after', ids })))
  if (task.status === 302) response.redirect('/elsewhere')
  else if (!task.flush) response.status(task.status ?? 200).json({ handled: ids })
  else response.end('flushed')
}

const app = express()
const json = express.json({ limit: '10mb' })
app.use('/webhook', json, sessionLock(lock))
app.post('/webhook', handle)
app.post('/wrapped', json, withSessionLock(lock, handle))
app.use('/bare', sessionLock(lock))
app.post('/bare', handle)
app.get('/webhook', (_request, response) => response.send('untouched'))
app.use((error, _request, response, _next) => {
  if (!response.headersSent) response.status(error.status ?? 500).json({ error: error.message })
})

const answers = {
  sessions: () => lock.sessions(),
  messages: () => lock.messages({ limit: 100_000 }),
  stats: () => lock.stats(),
  release: (key) => lock.release(key),
  close: () => lock.close(),
}
process.stdin.setEncoding('utf8')
let input = ''
process.stdin.on('data', (text) => {
  const lines = (input + text).split('\n')
  input = lines.pop()
  for (const line of lines) {
    const [name, argument] = JSON.parse(line)
    answers[name](argument).then(
      (value) => console.log(`answer ${JSON.stringify(value ?? null)}`),
      (error) => console.log(`answer ${JSON.stringify({ error: String(error) })}`),
    )
  }
})

const server = app.listen(0, '127.0.0.1', async () => {
  await lock.ready()
  console.log(`listening ${server.address().port}`)
})
