/**
 * Stands in for a language model: slow, and paid by the call. It keeps the bill, which is why the bill can be trusted:
 * it is outside of the processes that are killed.
 *
 *     node model.mjs      listens on port 4000 (PORT), thinks for 2 s (THINK_MS); the bill is at GET /bill
 */
import { EventEmitter } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import express from 'express'

/** Resolves once it listens. `calls`: all that were paid for, in order; each also comes as an event `call`. */
export async function startModel({ port = 0, thinkMs }) {
  const calls = []
  const events = new EventEmitter()
  const refused = new Set()
  const app = express()

  app.post('/summaries', express.json(), async (req, res) => {
    const { note, node, text } = req.body
    // So that there is something to try again.
    if (text.includes('overload') && !refused.has(note)) {
      refused.add(note)
      res.status(503).json({ error: 'The model is overloaded: try again later.' })
      return
    }
    calls.push({ note, node })
    events.emit('call', { note, node })
    await sleep(thinkMs)
    res.json({ summary: `${text.split(' ').slice(0, 4).join(' ')} …` })
  })
  app.get('/bill', (_req, res) => res.json({ total: calls.length, calls }))

  const server = await new Promise((resolve, reject) => {
    const started = app.listen(port, '127.0.0.1', (error) => (error ? reject(error) : resolve(started)))
  })
  return { url: `http://127.0.0.1:${server.address().port}`, calls, events, close: () => close(server) }
}

function close(server) {
  server.close()
  server.closeAllConnections()
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { PORT = '4000', THINK_MS = '2000' } = process.env
  const model = await startModel({ port: Number(PORT), thinkMs: Number(THINK_MS) })
  model.events.on('call', ({ note, node }) => console.log(`call ${model.calls.length}: note ${note}, by ${node}`))
  console.log(`the model listens on ${model.url}`)
  for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => model.close())
}
