/** Receiving over HTTP: what a provider is answered. */
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import Database from 'better-sqlite3'
import express from 'express'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createInbox } from '../../src/inbox/index.ts'
import { createSessionLock } from '../../src/index.ts'
import { listen, post } from '../http/bot.ts'
import { type InboxWorld, queueStores, startInbox } from './world.ts'

function whatsappDelivery(messages: ReadonlyArray<{ id: string; from: string }>): object {
  const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages }
  const changes = [{ field: 'messages', value }]
  return { object: 'whatsapp_business_account', entry: [{ id: '2000', changes }] }
}

let close: () => Promise<void> = async () => undefined
afterEach(() => close())

/** Serves the inbox; resolves to the webhook's URL. */
async function serve(world: InboxWorld): Promise<string> {
  close = world.close
  const app = express()
  app.post('/webhook', world.inbox.receive())
  app.use((_request, response) => void response.status(404).send('the handler behind'))
  return `${await listen(app)}/webhook`
}

describe.each(queueStores)('$name', ({ options }) => {
  test('a delivery is answered 200 with nothing when it is stored, a repeated one as a duplicate', async () => {
    const world = await startInbox(options())
    const url = await serve(world)
    const delivery = whatsappDelivery([{ id: 'wamid.1', from: '491' }])
    const [first, second] = [await post(url, delivery), await post(url, delivery)]
    expect([first.status, first.headers.get('session-lock'), await first.text()]).toEqual([200, 'queued', ''])
    expect([second.status, second.headers.get('session-lock'), await second.text()]).toEqual([200, 'duplicate', ''])
    await world.untilEmpty()
    expect(world.calls).toEqual([['wamid.1']])
  })

  test('of a delivery with several messages each is handled, with a body of its own', async () => {
    const bodies: unknown[] = []
    const world = await startInbox(options(), ([message]) => void bodies.push(message?.payload))
    const url = await serve(world)
    const [one, two] = [
      { id: 'wamid.1', from: '491' },
      { id: 'wamid.2', from: '492' },
    ]
    await post(url, whatsappDelivery([one, two, one]))
    await world.untilEmpty()
    expect(world.calls.flat().sort()).toEqual(['wamid.1', 'wamid.2'])
    expect(bodies).toEqual(expect.arrayContaining([whatsappDelivery([one]), whatsappDelivery([two])]))
  })
})

const [sqlite] = queueStores as [(typeof queueStores)[number]]

test('a delivery that is not signed is answered 401 and not stored', async () => {
  const secret = 'app secret'
  const world = await startInbox(sqlite.options(), undefined, { lockOptions: { secret } })
  const url = await serve(world)
  const body = JSON.stringify(whatsappDelivery([{ id: 'wamid.1', from: '491' }]))
  expect((await post(url, body, { 'x-hub-signature-256': `sha256=${'0'.repeat(64)}` })).status).toBe(401)
  expect(await world.lock.messages()).toEqual([])
  const signature = createHmac('sha256', secret).update(body).digest('hex')
  expect((await post(url, body, { 'x-hub-signature-256': `sha256=${signature}` })).status).toBe(200)
})

test('what is no delivery goes on to the next handler; what cannot be keyed is refused', async () => {
  const world = await startInbox(sqlite.options())
  const url = await serve(world)
  expect(await (await post(url, { hello: 'world' })).text()).toBe('the handler behind')
  expect((await post(url, whatsappDelivery([{ id: 'x'.repeat(513), from: '491' }]))).status).toBe(400)
  expect((await post(url, '{"broken"')).status).toBe(400)
})

test('beyond maxInFlight a delivery is answered 503 before its body is read, and comes through later', async () => {
  const world = await startInbox(sqlite.options(), undefined, { maxInFlight: 1 })
  const url = await serve(world)
  const slow = JSON.stringify(whatsappDelivery([{ id: 'wamid.slow', from: '491' }]))
  const headers = { 'content-type': 'application/json', 'content-length': String(slow.length) }
  const request = httpRequest(url, { method: 'POST', headers })
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  request.write(slow.slice(0, 10))
  const delivery = whatsappDelivery([{ id: 'wamid.1', from: '492' }])
  const refused = await vi.waitUntil(async () => {
    const answer = await post(url, delivery)
    return answer.status === 503 && answer
  })
  expect(refused.headers.get('session-lock')).toBe('overloaded')
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
  request.end(slow.slice(10))
  const [answer] = await answered
  answer.resume()
  expect(answer.statusCode).toBe(200)
  expect((await post(url, delivery)).status).toBe(200)
  await world.untilEmpty()
  expect(world.calls.flat().sort()).toEqual(['wamid.1', 'wamid.slow'])
})

test('where the store is closed a delivery is answered 503', async () => {
  const world = await startInbox(sqlite.options())
  const url = await serve(world)
  await world.inbox.stop()
  await world.lock.close()
  const answer = await post(url, whatsappDelivery([{ id: 'wamid.1', from: '491' }]))
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, expect.any(String)])
})

test('a delivery that could not be stored is a store error, answered 503', async () => {
  const database = new Database(':memory:')
  const lock = createSessionLock({ store: database, logger: false, cleanupEveryMs: 0 })
  close = () => lock.close()
  await lock.ready()
  const inbox = createInbox({ lock, handler: () => undefined })
  const app = express()
  app.post('/webhook', inbox.receive())
  const errors: string[] = []
  lock.on('store_error', ({ during }) => errors.push(during))
  database.exec('DROP TABLE session_lock_messages')
  const answer = await post(`${await listen(app)}/webhook`, whatsappDelivery([{ id: 'wamid.1', from: '491' }]))
  expect([answer.status, errors]).toEqual([503, ['store a delivery']])
})
