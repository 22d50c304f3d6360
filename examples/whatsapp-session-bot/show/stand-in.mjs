/**
 * Stands in for what a bot calls: the model that it asks, and the half of Gowa that sends its replies. It sees from
 * outside what the bots do, whatever they believe: a handler begins when it asks the model, and ends when its reply
 * comes, or when its bot is killed while it waits for the model.
 */
import { once } from 'node:events'
import express from 'express'

/**
 * @param think - called with each message that the model is asked about; its promise is the time that the model takes
 */
export async function startStandIn(think) {
  const handlers = new Set()
  const repliesTo = new Map()
  let overlapping = 0
  let most = 0

  const sessionsInHand = () => new Set([...handlers].map(({ session }) => session)).size

  function begin({ id, prospect, device }) {
    const session = `${prospect} ${device}`
    if ([...handlers].some((handler) => handler.session === session)) overlapping += 1
    const handler = { id, session }
    handlers.add(handler)
    most = Math.max(most, sessionsInHand())
    return handler
  }

  const app = express()
  app.post('/think', express.json(), async (req, res) => {
    const handler = begin(req.body)
    res.once('close', () => {
      if (!res.writableFinished) handlers.delete(handler)
    })
    await think(req.body)
    res.json({ text: `You said: ${req.body.text}` })
  })

  app.post('/send/message', express.json(), (req, res) => {
    const { reply_message_id: id } = req.body
    repliesTo.set(id, (repliesTo.get(id) ?? 0) + 1)
    for (const handler of handlers) {
      if (handler.id !== id) continue
      handlers.delete(handler)
      break
    }
    res.json({ code: 'SUCCESS', message: 'sent' })
  })

  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${server.address().port}`
  return {
    /** Where the bots find it. */
    environment: { GATEWAY_URL: url, MODEL_URL: `${url}/think` },
    sessionsInHand,
    repliesTo: (id) => repliesTo.get(id) ?? 0,
    /** What was seen, of these messages. */
    judge(messages) {
      const replies = messages.map(({ id }) => repliesTo.get(id) ?? 0)
      return {
        once: replies.filter((count) => count === 1).length,
        moreThanOnce: replies.filter((count) => count > 1).length,
        never: replies.filter((count) => count === 0).length,
        overlapping,
        most,
      }
    },
    stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}
