/** What was acquired is let go, and kept as it was given, also where something in between fails or is put aside. */
import { connect, createServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import Fastify from 'fastify'
import { expect, onTestFinished, test } from 'vitest'
import { sessionLock as fastifyLock } from '../../src/http/fastify.ts'
import { withSessionLock } from '../../src/http/fetch.ts'
import { protect } from '../../src/http/node-http.ts'
import { createSessionLock, type SessionLock, type SessionLockOptions } from '../../src/index.ts'
import { defineProvider } from '../../src/providers/index.ts'
import { gate, whatsapp } from './bot.ts'
import { ask } from './frameworks.ts'

function open(options: SessionLockOptions = {}): SessionLock {
  const lock = createSessionLock({ store: 'memory:', logger: false, lockWaitMs: 0, closeTimeoutMs: 0, ...options })
  onTestFinished(() => lock.close())
  return lock
}

test('a body that cannot be taken apart is an error, and nobody’s session', async () => {
  const lists = defineProvider({
    name: 'lists',
    recognises: ({ body }) => Array.isArray(body),
    read: ({ body }) => (body as string[]).map((id) => ({ id, prospect: id, device: 'bot', kind: 'message' as const })),
    reduce() {
      throw new Error('not to be taken apart')
    },
  })
  const lock = open({ provider: lists })
  const handler = withSessionLock(lock, () => new Response('ok'))
  expect((await handler(ask(['ada']))).status).toBe(200)
  await expect(handler(ask(['ada', 'ben']))).rejects.toThrow('not to be taken apart')
  await expect.poll(() => lock.sessions()).toEqual([])
  expect((await handler(ask(['ben']))).status).toBe(200)
})

test('of a delivery that is refused for its other part, the handler’s own answer is kept', async () => {
  const lock = open({ replay: true })
  const handler = withSessionLock(lock, () => new Response('<ok/>', { headers: { 'content-type': 'text/xml' } }))
  const [held, finish] = [gate(), gate()]
  const running = lock.run({ prospect: 'ben', device: '1000' }, () => {
    held.pass()
    return finish.passed
  })
  await held.passed
  expect((await handler(ask(whatsapp('ada', 'ben')))).status).toBe(503)
  finish.pass()
  await running
  const again = await handler(ask(whatsapp('ada')))
  expect([again.status, await again.text()]).toEqual([200, '<ok/>'])
  expect(again.headers.get('idempotency-replayed')).toBe('true')
})

test('over HTTP/2 a handler’s end is seen, and a body without a length is read', async () => {
  const lock = open()
  const runs: unknown[] = []
  const server = createServer(
    protect(lock, (request, response) => {
      runs.push(request.body)
      response.end('ok')
    }) as never,
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const client = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  onTestFinished(() => {
    client.close()
    server.close()
  })
  const post = (body: unknown) =>
    new Promise<number>((resolve, reject) => {
      const stream = client.request({ ':method': 'POST', ':path': '/', 'content-type': 'application/json' })
      stream.on('response', (headers) => resolve(Number(headers[':status'])))
      stream.on('error', reject)
      stream.resume().end(JSON.stringify(body))
    })
  expect(await post(whatsapp('ada'))).toBe(200)
  await expect.poll(() => lock.messages()).toMatchObject([{ messageId: 'wamid.ada', status: 'completed' }])
  expect(await post(whatsapp('ada'))).toBe(200)
  expect(runs).toEqual([whatsapp('ada')])
})

test('the bytes of every method that a provider signs are kept', async () => {
  const acme = defineProvider({
    name: 'acme',
    methods: ['PUT'],
    recognises: () => true,
    read: () => [{ id: 'm1', prospect: 'ada', device: 'bot', kind: 'message' }],
    isSigned: ({ rawBody }, secret) => rawBody.toString().includes(secret),
  })
  const app = Fastify()
  onTestFinished(() => app.close())
  await app.register(fastifyLock, { lock: open({ provider: acme, secret: 'word' }) })
  app.put('/', async () => 'ok')
  expect((await app.inject({ method: 'PUT', url: '/', payload: { signed: 'word' } })).statusCode).toBe(200)
  expect((await app.inject({ method: 'PUT', url: '/', payload: { signed: 'no' } })).statusCode).toBe(401)
})

test('a provider may be of a class; what comes by GET can be asked and signed', async () => {
  class Acme {
    readonly name = 'acme'
    readonly methods = ['GET', 'POST']
    recognises() {
      return true
    }
    read() {
      return [{ id: 'm1', prospect: 'ada', device: this.name, kind: 'message' as const }]
    }
    isSigned({ url }: { url: string }, secret: string) {
      return url.endsWith(`signed=${secret}`)
    }
    handshake({ url }: { url: string }) {
      return url.includes('asks') ? { status: 200, body: 'yes' } : undefined
    }
  }
  const handler = withSessionLock(
    open({ provider: defineProvider(new Acme()), secret: 'word' }),
    () => new Response('ok'),
  )
  const get = async (query: string) => {
    const answer = await handler(new Request(`http://bot/?${query}`))
    return [answer.status, await answer.text()]
  }
  expect(await get('asks')).toEqual([200, 'yes'])
  expect(await get('signed=word')).toEqual([200, 'ok'])
  expect((await get('signed=no'))[0]).toBe(401)
})
