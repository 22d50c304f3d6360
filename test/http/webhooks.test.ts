/** Whole webhooks of several providers: signed or forged, handshakes, replayed replies, deadlines. */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { createSessionLock, type SessionLockOptions, sessionLock } from '../../src/index.ts'

const closing: Array<() => unknown> = []

afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

type Handler = (request: express.Request, response: express.Response) => unknown

test('with a verify token, GETs that are no handshake are the bot’s own', async () => {
  const key = ({ body }: { body: unknown }) => ({ messageId: (body as { id: string }).id })
  for (const options of [{}, { key }]) {
    const bot = await startBot({ verifyToken: 'token', ...options }, (_, response) => response.send('page'))
    for (const query of ['validationToken=abc', 'messageId=1&msisdn=2', '']) {
      expect(await bot.get(query), query).toMatchObject({ status: 200, text: 'page' })
    }
  }
})

test('a public key is no secret of the others: it must be given by name', async () => {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const key = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url').toString('hex')
  const body = '{"type":1,"id":"1","application_id":"2","token":"t","version":1}'
  const signature = sign(null, Buffer.from(`1${body}`), privateKey).toString('hex')
  const headers = { 'x-signature-ed25519': signature, 'x-signature-timestamp': '1' }
  for (const [options, status] of [
    [{ secret: key }, 500],
    [{ secret: { discord: key } }, 200],
    [{ secret: key, provider: 'discord' }, 200],
  ] as const) {
    const bot = await startBot(options, (_, response) => response.send('page'))
    expect((await bot.post(body, headers)).status).toBe(status)
  }
})

async function startBot(options: SessionLockOptions, handler: Handler) {
  const lock = createSessionLock({ store: 'memory:', logger: false, closeTimeoutMs: 0, ...options })
  const runs: unknown[] = []
  const app = express()
  app.use(sessionLock(lock))
  app.use((request: express.Request, response: express.Response) => {
    runs.push(request.sessionLock?.messages)
    return handler(request, response)
  })
  const server = app.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  closing.push(
    () => lock.close(),
    () => server.closeAllConnections(),
    () => server.close(),
  )
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    lock,
    runs,
    async post(body: string, headers: Record<string, string> = {}, query = '') {
      const type = body.startsWith('{') ? 'application/json' : 'application/x-www-form-urlencoded'
      const from = performance.now()
      const response = await fetch(`${url}/webhook${query}`, {
        method: 'POST',
        headers: { 'content-type': type, ...headers },
        body,
      })
      const text = await response.text()
      return { status: response.status, headers: response.headers, text, tookMs: performance.now() - from }
    },
    async get(query: string) {
      const response = await fetch(`${url}/webhook?${query}`)
      return { status: response.status, text: await response.text(), type: response.headers.get('content-type') }
    },
  }
}

const ok: Handler = (_request, response) => response.sendStatus(200)

const whatsapp = (id: string) =>
  JSON.stringify({
    object: 'whatsapp_business_account',
    entry: [
      { changes: [{ value: { metadata: { phone_number_id: '1' }, messages: [{ id, from: '2', type: 'text' }] } }] },
    ],
  })

const metaSignature = (body: string, secret: string) => ({
  'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`,
})

test('a store that cannot be opened is in the log at start, without its password', async () => {
  const lines: string[] = []
  const logger = pino({}, { write: (line: string) => void lines.push(line) })
  const { lock } = sessionLock({ store: 'mysql://bot:hunter2@127.0.0.1:1/bot', logger, storeTimeoutMs: 500 })
  closing.push(() => lock.close())
  await expect.poll(() => lines.join()).toContain('failed to open the store')
  expect(lines.join()).toContain('127.0.0.1:1/bot')
  expect(lines.join()).not.toContain('hunter2')
})

test('a forged delivery is refused before anything is written, and does not keep the real one out', async () => {
  const bot = await startBot({ secret: ['old secret', 'new secret'] }, ok)
  const body = whatsapp('wamid.1')
  for (const headers of [{}, metaSignature(body, 'guess'), { 'x-hub-signature-256': 'sha256=00' }]) {
    expect((await bot.post(body, headers)).status).toBe(401)
  }
  expect((await bot.post(body.replace('wamid.1', 'wamid.2'), metaSignature(body, 'new secret'))).status).toBe(401)
  expect(await bot.lock.messages()).toEqual([])
  expect(bot.runs).toEqual([])
  expect((await bot.post(body, metaSignature(body, 'new secret'))).status).toBe(200)
  expect((await bot.post(body, metaSignature(body, 'old secret'))).headers.get('session-lock')).toBe('duplicate')
  expect(bot.runs).toHaveLength(1)
})

test('dressed up as a provider that signs nothing, nobody gets past the secret', async () => {
  const bot = await startBot({ secret: 'secret' }, ok)
  const ultramsg = {
    event_type: 'message_received',
    instanceId: '7',
    id: '',
    data: { id: 'false_1@c.us_A', from: '1@c.us', to: '2@c.us', type: 'chat', body: 'hi' },
  }
  expect((await bot.post(JSON.stringify(ultramsg))).status).toBe(401)
  expect(bot.runs).toEqual([])
})

const twilioBody = (sid: string) =>
  `MessageSid=${sid}&SmsMessageSid=${sid}&AccountSid=AC${'0'.repeat(32)}&From=%2B15550001&To=%2B15550002&Body=hi&NumMedia=0`

test('Twilio: the duplicate is given the same TwiML', async () => {
  const twiml = '<?xml version="1.0"?><Response><Message>Olá 👋</Message></Response>'
  const bot = await startBot({}, (_request, response) => response.type('text/xml').send(twiml))
  const sid = `SM${'1'.repeat(32)}`
  const [first, second] = await Promise.all([bot.post(twilioBody(sid)), bot.post(twilioBody(sid))])
  const third = await bot.post(twilioBody(sid))
  expect([first.text, second.text, third.text]).toEqual([twiml, twiml, twiml])
  expect(third.headers.get('content-type')).toBe(first.headers.get('content-type'))
  expect(third.headers.get('idempotency-replayed')).toBe('true')
  expect(bot.runs).toHaveLength(1)
})

test('Telegram: the duplicate is given the same method call; the device comes from the option', async () => {
  const call = { method: 'sendMessage', chat_id: 5, text: 'hello' }
  const device = ({ url }: { url: string }) => `bot at ${url}`
  const bot = await startBot({ device }, (_request, response) => response.json(call))
  const from = { id: 5, is_bot: false, first_name: 'A' }
  const update = JSON.stringify({
    update_id: 7,
    message: { message_id: 1, date: 1, from, chat: { id: 5, type: 'private' }, text: 'hi' },
  })
  await bot.post(update)
  const again = await bot.post(update)
  expect([JSON.parse(again.text), again.headers.get('idempotency-replayed')]).toEqual([call, 'true'])
  expect(await bot.lock.messages()).toMatchObject([{ provider: 'telegram', messageId: '7', device: 'bot at /webhook' }])
})

test('Wablas: whatever the handler said, the duplicate’s answer is empty', async () => {
  const bot = await startBot({}, (_request, response) => response.send('a reply for the customer'))
  const body = JSON.stringify({
    id: 'W1',
    pushName: 'A',
    isGroup: false,
    message: 'hi',
    phone: '6281',
    messageType: 'text',
    deviceId: 'D1',
    sender: '6282',
    timestamp: '2026-01-01T00:00:00Z',
  })
  expect((await bot.post(body)).text).toBe('a reply for the customer')
  expect(bot.runs[0]).toMatchObject([{ id: 'W1' }])
  const again = await bot.post(body)
  expect([again.status, again.text, again.headers.get('session-lock')]).toEqual([200, '', 'duplicate'])
})

test('handshakes are answered: Meta, Slack, Discord, LINE', async () => {
  const meta = await startBot({ verifyToken: 'token' }, (_request, response) => response.send('handler'))
  const query = 'hub.mode=subscribe&hub.challenge=<b>1</b>&hub.verify_token='
  expect(await meta.get(`${query}token`)).toEqual({ status: 200, text: '<b>1</b>', type: 'text/plain; charset=utf-8' })
  expect((await meta.get(`${query}guess`)).status).toBe(403)
  expect((await meta.get('page=1')).text).toBe('handler')

  const slack = JSON.stringify({ type: 'url_verification', token: 't', challenge: 'c' })
  expect((await meta.post(slack)).text).toBe('{"challenge":"c"}')
  const line = JSON.stringify({ destination: 'U1', events: [] })
  expect([(await meta.post(line)).status, meta.runs.length]).toEqual([200, 1])

  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const key = Buffer.from(publicKey.export({ format: 'jwk' }).x as string, 'base64url').toString('hex')
  const discord = await startBot({ provider: 'discord', secret: key }, ok)
  const ping = JSON.stringify({ id: '1', application_id: '2', type: 1, token: 't', version: 1 })
  const signature = sign(null, Buffer.from(`1700${ping}`), privateKey).toString('hex')
  expect((await discord.post(ping, { 'x-signature-ed25519': signature, 'x-signature-timestamp': '1700' })).text).toBe(
    '{"type":1}',
  )
  expect((await discord.post(ping, { 'x-signature-ed25519': signature, 'x-signature-timestamp': '1701' })).status).toBe(
    401,
  )
})

test('Teams, where it is named: the token of Microsoft Graph is given back, and passed on where that is wanted', async () => {
  const handler: Handler = (_request, response) => response.send('handler')
  for (const [handshake, text] of [
    ['answer', 'a token'],
    ['pass', 'handler'],
  ] as const) {
    const bot = await startBot({ provider: 'teams', handshake }, handler)
    expect((await bot.post('', {}, '?validationToken=a%20token')).text).toBe(text)
  }
})

test('Vonage by GET, where it is named: handled once', async () => {
  const bot = await startBot({ provider: 'vonage' }, ok)
  const query = 'msisdn=15550001&to=15550002&messageId=0A1&text=hi&type=text&message-timestamp=2026-01-01+00%3A00%3A00'
  expect((await bot.get(query)).text).toBe('OK')
  expect((await bot.get(query)).text).toBe('')
  expect(bot.runs).toHaveLength(1)
  expect((await bot.get('page=1')).text).toBe('OK')
})

test('handshake: pass leaves them to the handler', async () => {
  const bot = await startBot({ handshake: 'pass', verifyToken: 'token' }, (_request, response) =>
    response.send('handler'),
  )
  expect((await bot.get('hub.mode=subscribe&hub.challenge=1&hub.verify_token=token')).text).toBe('handler')
  expect((await bot.post(JSON.stringify({ type: 'url_verification', token: 't', challenge: 'c' }))).text).toBe(
    'handler',
  )
})

const lineEvent = (id: string) =>
  JSON.stringify({
    destination: 'U1',
    events: [
      {
        type: 'message',
        webhookEventId: id,
        timestamp: 1,
        source: { type: 'user', userId: 'U2' },
        message: { type: 'text', id: '1', text: 'hi' },
      },
    ],
  })

const slackEvent = (id: string) =>
  JSON.stringify({
    type: 'event_callback',
    event_id: id,
    team_id: 'T1',
    api_app_id: 'A1',
    event_time: 1,
    event: { type: 'message', user: 'U1', channel: 'D1', channel_type: 'im', text: 'hi', ts: '1.1' },
  })

test.each([
  ['LINE', lineEvent, 2000],
  ['Slack', slackEvent, 3000],
])('%s is answered within its deadline, however long the wait was to be', async (_name, event, deadlineMs) => {
  const bot = await startBot({ lockWaitMs: 20_000 }, () => undefined)
  void bot.post(event('first')).catch(() => undefined)
  await expect.poll(() => bot.runs.length).toBe(1)
  const [duplicate, other] = await Promise.all([bot.post(event('first')), bot.post(event('other'))])
  expect([duplicate.status, other.status]).toEqual([409, 503])
  // The deadline itself is the promise here, not a speed.
  expect(Math.max(duplicate.tookMs, other.tookMs)).toBeLessThan(deadlineMs)
})
