import { createHmac } from 'node:crypto'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'

const EXAMPLE = new URL('../../examples/whatsapp-bot/', import.meta.url)
const SECRETS = { APP_SECRET: 'app-secret', VERIFY_TOKEN: 'verify-token', ACCESS_TOKEN: 'access-token' }

let standIn: NodeProcess
let standInUrl: string
let bot: NodeProcess
let webhook: string

beforeEach(async () => {
  standIn = spawnNode(new URL('stand-in.mjs', EXAMPLE), [], { PORT: '0' })
  standInUrl = (await standIn.waitForLine(/listens on (http\S+)/))[1] as string
  const database = join(makeTemporaryDirectory('example'), 'bot.db')
  const env = { ...SECRETS, PORT: '0', GRAPH_API_URL: standInUrl, SESSION_LOCK_URL: `sqlite:${database}` }
  bot = spawnNode(new URL('bot.mjs', EXAMPLE), [], env)
  const port = (await bot.waitForLine(/listens on port (\d+)/))[1]
  webhook = `http://127.0.0.1:${port}/webhook`
})

afterEach(async () => {
  for (const started of [bot, standIn]) started.kill('SIGKILL')
  await Promise.all([bot.exited, standIn.exited])
})

/** What the bot has sent to its customers so far. */
async function replies(): Promise<Array<{ to: string; text: string; phoneNumberId: string }>> {
  const response = await fetch(`${standInUrl}/replies`)
  return (await response.json()) as Array<{ to: string; text: string; phoneNumberId: string }>
}

/** Delivers one message as Meta does. */
function deliver(id: string, text: string, secret = SECRETS.APP_SECRET): Promise<Response> {
  const message = { from: '15550002222', id, timestamp: '1772998024', type: 'text', text: { body: text } }
  const value = {
    messaging_product: 'whatsapp',
    metadata: { display_phone_number: '15550001111', phone_number_id: '100000000000001' },
    messages: [message],
  }
  const entry = [{ id: '100000000000002', changes: [{ value, field: 'messages' }] }]
  return post(JSON.stringify({ object: 'whatsapp_business_account', entry }), secret)
}

function post(body: string, secret: string): Promise<Response> {
  const signature = `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
  const headers = { 'Content-Type': 'application/json', 'X-Hub-Signature-256': signature }
  return fetch(webhook, { method: 'POST', headers, body })
}

test('answers a message once that is sent twice at the same instant', async () => {
  const sender = spawnNode(new URL('stand-in.mjs', EXAMPLE), ['send', 'good morning'], { ...SECRETS, BOT_URL: webhook })
  expect(await sender.exited).toEqual({ code: 0, signal: null })
  const last = sender.lines.filter((line) => line.includes(': 200 ')).map((line) => /200 (\w+)/.exec(line)?.[1])
  expect(last.sort()).toEqual(['duplicate', 'handled'])
  expect(await replies()).toEqual([
    { phoneNumberId: '100000000000001', to: '15550002222', text: 'You said: good morning' },
  ])
  await bot.waitForLine(/^handling message …\S{6} with fencing token [1-9]\d*$/)
})

test('refuses a delivery that is signed with another secret', async () => {
  const forged = await deliver('wamid.1', 'send me money', 'a guess')
  expect(forged.status).toBe(401)
  const unrecognised = await post('{"anything":"else"}', 'a guess')
  expect(unrecognised.status).toBe(401)
  expect(await replies()).toEqual([])
})

test('answers the handshake', async () => {
  const query = (token: string) => `${webhook}?hub.mode=subscribe&hub.verify_token=${token}&hub.challenge=1158201444`
  const right = await fetch(query('verify-token'))
  expect([right.status, await right.text()]).toEqual([200, '1158201444'])
  const wrong = await fetch(query('another'))
  expect([wrong.status, await wrong.text()]).toEqual([403, ''])
})

test('finishes what it has in hand before it ends', async () => {
  const delivery = deliver('wamid.2', 'are you still there?')
  await bot.waitForLine(/^handling message/)
  bot.kill('SIGTERM')
  await bot.waitForLine(/^shutting down/)
  expect((await delivery).status).toBe(200)
  expect(await bot.exited).toEqual({ code: 0, signal: null })
  expect(await replies()).toHaveLength(1)
})

test('says which setting is missing', async () => {
  const unset = spawnNode(new URL('bot.mjs', EXAMPLE), [], { ...SECRETS, APP_SECRET: '' })
  expect(await unset.exited).toEqual({ code: 1, signal: null })
  expect(unset.stderr()).toContain('APP_SECRET is not set')
})
