/**
 * A node of a bot with an admin. Started with a JSON of `{ options }`; `POST /hold` with `{ prospect }` holds that session
 * until `POST /end`. It prints `listening <port>`, and `lost <prospect>` when a signal aborts.
 */
import express from 'express'
import { createSessionLock } from 'session-lock'
import { adminRouter } from 'session-lock/admin'

const { options } = JSON.parse(process.argv[2])
const lock = createSessionLock({ ...options, logger: false })
await lock.ready()
let end = () => undefined
const ended = new Promise((resolve) => {
  end = resolve
})

const app = express()
app.use(express.json())
app.post('/hold', (request, response) => {
  const { prospect } = request.body
  const key = { prospect, device: 'bot', messageId: `m-${prospect}` }
  const handler = (lease) => {
    lease.signal.addEventListener('abort', () => console.log(`lost ${prospect}`))
    response.sendStatus(200)
    return ended
  }
  lock.run(key, handler).catch((error) => console.log(`failed ${prospect} ${error}`))
})
app.post('/end', (_request, response) => {
  end()
  response.sendStatus(200)
})
app.use('/locks', adminRouter({ lock, authorize: () => 'tester', refreshMs: 200 }))
const server = app.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))
