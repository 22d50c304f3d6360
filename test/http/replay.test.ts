/** Stored answers: encoded and decoded, captured from any way of answering, given again to duplicates. */
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import express from 'express'
import { afterEach, describe, expect, test } from 'vitest'
import { waitFor } from '../../src/http/deadline.ts'
import { createCapture, decodeStored, encodeStored, MAX_KEPT_BYTES } from '../../src/http/replay.ts'
import { createSessionLock, type SessionLockOptions, sessionLock } from '../../src/index.ts'

const closing: Array<() => void> = []

afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** A bot whose handler answers as it is told, and counts its runs. */
async function startBot(
  answer: (response: express.Response) => void,
  options: SessionLockOptions = {},
  framework: typeof express = express,
  before: (response: express.Response) => void = () => undefined,
) {
  const lock = createSessionLock({
    store: 'memory:',
    logger: false,
    replay: true,
    key: { messageId: 'id' },
    ...options,
  })
  const app = framework()
  let runs = 0
  app.use((_request: express.Request, response: express.Response, next: () => void) => {
    before(response)
    next()
  })
  app.use(sessionLock(lock), (_request: express.Request, response: express.Response) => {
    runs += 1
    answer(response)
  })
  const server = app.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  closing.push(
    () => void lock.close(),
    () => void server.close(),
  )
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return {
    runs: () => runs,
    async post(body: unknown) {
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body), redirect: 'manual' })
      const bytes = Buffer.from(await response.arrayBuffer())
      return { status: response.status, headers: response.headers, bytes }
    },
  }
}

const TWIML = '<Response><Message>Grüße 😀</Message></Response>'
const BINARY = Buffer.from(Array.from({ length: 256 }, (_, index) => index))

const answers: Array<[string, (response: express.Response) => void]> = [
  ['send', (response) => void response.type('text/xml').send(TWIML)],
  ['json', (response) => void response.status(201).json({ method: 'sendMessage', chat_id: 7 })],
  ['binary', (response) => void response.type('application/octet-stream').send(BINARY)],
  ['empty', (response) => void response.status(200).end()],
  ['204', (response) => void response.sendStatus(204)],
  ['redirect', (response) => void response.redirect(303, '/elsewhere')],
  [
    'writeHead and write',
    (response) => {
      response.writeHead(200, { 'Content-Type': 'text/xml', 'Set-Cookie': 'a=b' })
      response.write('<a>', () => undefined)
      response.write(Buffer.from('é').toString('latin1'), 'latin1')
      response.end('</a>')
    },
  ],
]

describe.each([
  ['Express 5', express],
  ['Express 4', createRequire(import.meta.url)('express4') as typeof express],
])('%s', (_, framework) => {
  test('what stands before us may change the answer on its way: kept is what the handler gave', async () => {
    const compress = (response: express.Response) => {
      const { end } = response
      response.end = ((chunk: string) => {
        if (response.headersSent) return Reflect.apply(end, response, [chunk])
        response.removeHeader('Content-Length')
        response.setHeader('Content-Encoding', 'gzip')
        return Reflect.apply(end, response, [gzipSync(chunk)])
      }) as typeof end
    }
    const bot = await startBot((response) => void response.type('text/xml').send(TWIML), {}, framework, compress)
    const first = await bot.post({ id: 'm' })
    const again = await bot.post({ id: 'm' })
    expect([first.bytes.toString(), again.bytes.toString()]).toEqual([TWIML, TWIML])
    expect(bot.runs()).toBe(1)
  })

  test.each(answers)('a duplicate is given the same answer, byte for byte: %s', async (_name, answer) => {
    const bot = await startBot(answer, {}, framework)
    const first = await bot.post({ id: 'm' })
    const again = await bot.post({ id: 'm' })
    expect(again.status).toBe(first.status)
    expect(again.bytes.equals(first.bytes)).toBe(true)
    for (const name of ['content-type', 'location']) expect(again.headers.get(name)).toBe(first.headers.get(name))
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(again.headers.get('set-cookie')).toBeNull()
    expect(first.headers.get('idempotency-replayed')).toBeNull()
    expect(bot.runs()).toBe(1)
  })
})

test('a duplicate that waits shares the answer', async () => {
  const bot = await startBot((response) => void setTimeout(() => response.type('text/xml').send(TWIML), 100))
  const [one, other] = await Promise.all([bot.post({ id: 'm' }), bot.post({ id: 'm' })])
  expect([one.bytes.toString(), other.bytes.toString()]).toEqual([TWIML, TWIML])
  expect(bot.runs()).toBe(1)
})

test('an answer beyond the limit is not kept: its duplicate is answered 200 and empty', async () => {
  const bot = await startBot((response) => void response.send('x'.repeat(MAX_KEPT_BYTES + 1)))
  await bot.post({ id: 'm' })
  const again = await bot.post({ id: 'm' })
  expect([again.status, again.bytes.length, again.headers.get('session-lock')]).toEqual([200, 0, 'duplicate'])
})

test('a failed answer is not kept', async () => {
  let status = 500
  const bot = await startBot((response) => void response.status(status).send(`answer ${status}`))
  await bot.post({ id: 'm' })
  status = 200
  expect((await bot.post({ id: 'm' })).bytes.toString()).toBe('answer 200')
  expect((await bot.post({ id: 'm' })).bytes.toString()).toBe('answer 200')
  expect(bot.runs()).toBe(2)
})

test('without replay, a duplicate’s answer is empty', async () => {
  const bot = await startBot((response) => void response.send('the reply'), { replay: 'auto' })
  await bot.post({ id: 'm' })
  expect((await bot.post({ id: 'm' })).bytes.length).toBe(0)
})

test('comparePayload: the same id with another payload is refused with 422', async () => {
  const bot = await startBot((response) => void response.send('the reply'), { replay: 'auto', comparePayload: true })
  await bot.post({ id: 'm', amount: 1 })
  expect((await bot.post({ id: 'm', amount: 1 })).status).toBe(200)
  const other = await bot.post({ id: 'm', amount: 2 })
  expect([other.status, other.headers.get('session-lock')]).toEqual([422, 'other-payload'])
  expect(bot.runs()).toBe(1)
})

test('what is stored comes back as it was; foreign bytes are nobody’s answer', () => {
  const answer = { status: 200, headers: { 'content-type': 'text/xml' }, body: new Uint8Array(BINARY) }
  const decoded = decodeStored(encodeStored({ answer, payloadHash: 'abc' }))
  expect(decoded?.payloadHash).toBe('abc')
  expect(Buffer.from(decoded?.answer?.body ?? []).equals(BINARY)).toBe(true)
  expect(decodeStored(encodeStored({ payloadHash: 'abc' }))).toEqual({ payloadHash: 'abc' })
  for (const foreign of [Buffer.alloc(0), Buffer.from('hi'), Buffer.from('hello world'), BINARY]) {
    expect(decodeStored(foreign)).toBeUndefined()
  }
})

test('a captured chunk is a copy', () => {
  const capture = createCapture()
  const chunk = Buffer.from('before')
  capture.add(chunk)
  chunk.write('after!')
  expect(Buffer.from(capture.body() ?? []).toString()).toBe('before')
})

test('nobody is kept waiting for longer than the provider waits', () => {
  const chosen = (lockWaitMs: number) => ({ lockWaitMs, lockWaitIsDefault: false })
  const unchosen = { lockWaitMs: 2000, lockWaitIsDefault: true }
  expect(waitFor(undefined, unchosen)).toEqual({ lockWaitMs: 2000 })
  expect(waitFor({ redelivers: true, deadlineMs: 2000 }, unchosen)).toEqual({ lockWaitMs: 1500, answerWithinMs: 1750 })
  expect(waitFor({ redelivers: true, deadlineMs: 3000 }, unchosen)).toMatchObject({ lockWaitMs: 2000 })
  expect(waitFor({ redelivers: true, deadlineMs: 3000 }, chosen(10_000))).toMatchObject({ lockWaitMs: 2500 })
  expect(waitFor({ redelivers: false, deadlineMs: 15_000 }, unchosen)).toMatchObject({ lockWaitMs: 14_500 })
  expect(waitFor({ redelivers: false, deadlineMs: 15_000 }, chosen(1000))).toMatchObject({ lockWaitMs: 1000 })
})
