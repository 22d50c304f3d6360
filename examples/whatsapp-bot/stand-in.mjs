/**
 * Stands in for Meta, so that the bot can be tried without an account.
 *
 *   node stand-in.mjs                 takes the bot's replies, prints them, lists them at GET /replies
 *   node stand-in.mjs send "hello"    delivers one message to the bot, twice at the same instant
 */
import { createHmac, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'

const { APP_SECRET, BOT_URL = 'http://127.0.0.1:3000/webhook', FROM = '15550002222', PORT = '4000' } = process.env
const DEVICE = '100000000000001'
const MOST_TRIES = 10

const [command, text = 'hello'] = process.argv.slice(2)
if (command === undefined) takeReplies()
else if (command === 'send' && APP_SECRET) await deliverTwice(text)
else {
  console.error('usage: node stand-in.mjs | APP_SECRET=… node stand-in.mjs send "hello"')
  process.exitCode = 1
}

function takeReplies() {
  const replies = []
  const app = express()
  app.post('/:version/:phoneNumberId/messages', express.json(), (req, res) => {
    const { to, text } = req.body
    replies.push({ phoneNumberId: req.params.phoneNumberId, to, text: text.body })
    console.log(`reply ${replies.length}, to ${to}: ${text.body}`)
    const contacts = [{ input: to, wa_id: to }]
    res.json({ messaging_product: 'whatsapp', contacts, messages: [{ id: newMessageId() }] })
  })
  app.get('/replies', (_req, res) => res.json(replies))
  const server = app.listen(Number(PORT), '127.0.0.1', (error) => {
    if (error) throw error
    console.log(`the stand-in listens on http://127.0.0.1:${server.address().port}`)
  })
}

async function deliverTwice(text) {
  const body = JSON.stringify(deliveryOf({ from: FROM, id: newMessageId(), type: 'text', text: { body: text } }))
  await Promise.all([deliver('first', body), deliver('second', body)])
}

/** As Meta does it: what is not answered 200 is delivered again. */
async function deliver(name, body) {
  const signature = `sha256=${createHmac('sha256', APP_SECRET).update(body).digest('hex')}`
  const headers = { 'Content-Type': 'application/json', 'X-Hub-Signature-256': signature }
  for (let tries = 1; tries <= MOST_TRIES; tries += 1) {
    const startedAt = performance.now()
    const response = await fetch(BOT_URL, { method: 'POST', headers, body })
    await response.text()
    const outcome = response.headers.get('session-lock') ?? 'handled'
    const tookMs = Math.round(performance.now() - startedAt)
    console.log(`${name} delivery, try ${tries}: ${response.status} ${outcome}, after ${tookMs} ms`)
    if (response.status === 200) return
    await sleep(Number(response.headers.get('retry-after') ?? 1) * 1000)
  }
  console.log(`${name} delivery: given up`)
  process.exitCode = 1
}

function newMessageId() {
  return `wamid.${randomBytes(24).toString('base64')}`
}

function deliveryOf(message) {
  const metadata = { display_phone_number: '15550001111', phone_number_id: DEVICE }
  const contacts = [{ profile: { name: 'Test User' }, wa_id: message.from }]
  const messages = [{ ...message, timestamp: String(Math.floor(Date.now() / 1000)) }]
  const value = { messaging_product: 'whatsapp', metadata, contacts, messages }
  return {
    object: 'whatsapp_business_account',
    entry: [{ id: '100000000000002', changes: [{ value, field: 'messages' }] }],
  }
}
