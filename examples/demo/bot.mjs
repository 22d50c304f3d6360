/**
 * The bot: one node, a process of its own. What it is told comes as JSON in its first argument; the
 * port it got goes back over the channel to its parent.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { createSessionLock, sessionLock } from 'session-lock'
import { openJournal } from './journal.mjs'

const { node, store, appSecret, journalPath, isProtected } = JSON.parse(process.argv[2])
// The parent is gone, however that came about.
const die = () => process.exit(1)
process.once('disconnect', die)

const journal = openJournal(journalPath, node)
const app = express()

// Short times, so that the demo need not last for minutes. In production leave staleAfterMs at its 30 s.
const lock = isProtected
  ? createSessionLock({ store, nodeId: node, secret: appSecret, lockWaitMs: 800, staleAfterMs: 2000 })
  : undefined

// This line is all that differs between the two modes.
app.use('/webhook', lock ? sessionLock(lock) : express.json())

app.post('/webhook', async (req, res) => {
  const messages = messagesIn(req.body)
  for (const message of messages) await answer(message, req.sessionLock)
  res.sendStatus(200)
  if (!lock) journal('settled', { ids: messages.map(({ id }) => id) })
})

/** A real bot would ask a model here, write to its database, and send the reply. This one thinks, and keeps a journal. */
async function answer({ id, from, text }, held) {
  const lease = held?.leases.find(({ messageIds }) => messageIds.includes(id))
  journal('start', { id, prospect: from, fencingToken: lease?.fencingToken ?? null })
  await sleep(Number(/(\d+) ms/.exec(text.body)[1]))
  journal('end', { id })
}

function messagesIn(body) {
  return body.entry.flatMap((entry) => entry.changes.flatMap((change) => change.value.messages))
}

lock?.on('released', ({ messageIds }) => journal('settled', { ids: messageIds }))
lock?.on('takeover', ({ messageIds, fromNodeId }) => journal('takeover', { ids: messageIds, from: fromNodeId }))
await lock?.ready()

const server = app.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }))

process.on('message', async () => {
  process.off('disconnect', die)
  server.close()
  await lock?.close()
  process.disconnect()
})
