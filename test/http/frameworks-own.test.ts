/** What each framework has of its own, beside the behaviour that all share. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import Fastify, { type FastifyReply } from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { afterEach, describe, expect, it } from 'vitest'
import { createSessionLock } from '../../src/engine/lock.ts'
import { sessionLock as fastifyLock } from '../../src/http/fastify.ts'
import { withSessionLock } from '../../src/http/fetch.ts'
import { sessionLock as honoLock } from '../../src/http/hono.ts'
import { type KoaContextLike, sessionLock as koaLock } from '../../src/http/koa.ts'
import { gate, holdOf, lockThat, lockThatGives, pause, post, postAndLeave, whatsapp } from './bot.ts'
import { silent } from './frameworks.ts'

const DUPLICATE = { outcome: 'duplicate', of: 'completed', response: null } as const
const closers: Array<() => unknown> = []

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

function ask(body: unknown, init: RequestInit = {}): Request {
  const headers = { 'content-type': 'application/json' }
  return new Request('http://bot/', { method: 'POST', headers, body: JSON.stringify(body), ...init })
}

function realLock() {
  const lock = createSessionLock({ store: 'memory:', logger: silent, closeTimeoutMs: 100 })
  closers.push(() => lock.close())
  return lock
}

describe('Fastify', () => {
  const message = { method: 'POST', url: '/', payload: whatsapp('ada') } as const

  it('a hook answers through the reply', async () => {
    const onDuplicate = (_request: unknown, reply: unknown) => (reply as FastifyReply).code(208).send('again')
    const app = Fastify()
    await app.register(fastifyLock, { lock: lockThat(DUPLICATE, { onDuplicate }).lock })
    app.post('/', () => 'ran')
    const response = await app.inject(message)
    expect([response.statusCode, response.body]).toEqual([208, 'again'])
  })

  it('is not encapsulated, and protects routes registered before it too', async () => {
    const app = Fastify()
    app.post('/before', () => 'ran')
    await app.register(fastifyLock, { lock: realLock() })
    await app.register((inner, _options, done) => {
      inner.post('/', () => 'ran')
      done()
    })
    expect((await app.inject(message)).body).toBe('ran')
    expect((await app.inject(message)).headers['session-lock']).toBe('duplicate')
    expect((await app.inject({ ...message, url: '/before' })).headers['session-lock']).toBe('duplicate')
  })

  it('a lock made from options closes with the app; a shared one stays open', async () => {
    const lock = realLock()
    for (const options of [{ lock }, { store: 'memory:', logger: false } as const]) {
      const app = Fastify()
      await app.register(fastifyLock, options)
      await app.close()
    }
    expect(await lock.run({ messageId: 'a' }, () => 1)).toMatchObject({ status: 'processed' })
  })

  it('a wrong option is refused at start', async () => {
    const app = Fastify()
    const registered = async () => app.register(fastifyLock, { stor: 'memory:' } as never)
    await expect(registered()).rejects.toThrow('option "stor"')
  })

  it('the client gone, and a handler that returns nothing: completed', async () => {
    const hold = holdOf([0])
    const [started, gone] = [gate(), gate()]
    const app = Fastify()
    await app.register(fastifyLock, { lock: lockThatGives(hold).lock })
    app.post('/', async (_request, reply) => {
      reply.raw.on('close', gone.pass)
      started.pass()
      await gone.passed
    })
    await postAndLeave(await app.listen({ port: 0, host: '127.0.0.1' }), whatsapp('ada'), started.passed)
    expect(await hold.settled).toEqual({ status: 'completed' })
    await app.close()
  })

  it('too large for Fastify: 413, its own', async () => {
    const app = Fastify({ bodyLimit: 100 })
    await app.register(fastifyLock, { lock: realLock() })
    app.post('/', () => 'ran')
    const payload = { ...whatsapp('ada'), filler: 'x'.repeat(1000) }
    expect((await app.inject({ ...message, payload })).statusCode).toBe(413)
  })
})

describe('Koa', () => {
  it('a hook answers through the context', async () => {
    const onDuplicate = (context: unknown) => {
      const own = context as KoaContextLike
      own.status = 208
      own.body = 'again'
    }
    const app = new Koa()
    app.use(koaLock(lockThat(DUPLICATE, { onDuplicate }).lock))
    const handle = app.callback()
    const server = createServer((request, response) => void handle(request, response))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closers.push(() => server.close())
    const response = await post(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, whatsapp('ada'))
    expect([response.status, await response.text()]).toEqual([208, 'again'])
  })

  it('takes the body that a parser before it has left, and gives the handler its reduced one', async () => {
    const app = new Koa()
    app.use(async (context, next) => {
      Object.assign(context.request, { body: whatsapp('ada', 'bob') })
      context.req.resume()
      await next()
    })
    app.use(koaLock(lockThatGives(holdOf([1], { duplicates: [0] })).lock))
    app.use((context) => {
      context.body = (context.request as { body?: unknown }).body
    })
    const handle = app.callback()
    const server = createServer((request, response) => void handle(request, response))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closers.push(() => server.close())
    const response = await post(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, 'read by others')
    const text = await response.text()
    expect(text).toContain('wamid.bob')
    expect(text).not.toContain('wamid.ada')
  })
})

describe('Hono', () => {
  it('a hook answers by returning a response', async () => {
    const onDuplicate = () => new Response('again', { status: 208 })
    const app = new Hono().use(honoLock(lockThat(DUPLICATE, { onDuplicate }).lock))
    const response = await app.request(ask(whatsapp('ada')))
    expect([response.status, await response.text()]).toEqual([208, 'again'])
  })

  it('mounted twice, claimed once; also where the body is a new one', async () => {
    const { lock, deliveries } = lockThatGives(holdOf([1], { duplicates: [0] }))
    const app = new Hono().use(honoLock(lock), honoLock(lock))
    app.post('/', async (context) => context.text(await context.req.text()))
    const text = await (await app.request(ask(whatsapp('ada', 'bob')))).text()
    expect(text).toContain('wamid.bob')
    expect(text).not.toContain('wamid.ada')
    expect(deliveries).toHaveLength(1)
  })

  it('a body that was read before is read again', async () => {
    const { lock, deliveries } = lockThatGives(holdOf([0]))
    const app = new Hono().use(async (context, next) => {
      await context.req.json()
      await next()
    }, honoLock(lock))
    app.post('/', async (context) => context.json(await context.req.json()))
    expect(await (await app.request(ask(whatsapp('ada')))).json()).toEqual(whatsapp('ada'))
    expect(deliveries).toHaveLength(1)
  })

  it('headers that middleware sets around it stay', async () => {
    const app = new Hono().use(async (context, next) => {
      context.header('x-before', 'kept')
      await next()
      context.header('x-after', 'kept')
    }, honoLock(realLock()))
    app.post('/', (context) => context.text('ok'))
    const { headers } = await app.request(ask(whatsapp('ada')))
    expect([headers.get('x-before'), headers.get('x-after')]).toEqual(['kept', 'kept'])
  })
})

describe('fetch', () => {
  it('the request reads as if nobody had, and the context is handed on', async () => {
    const { lock } = lockThatGives(holdOf([0]))
    const handler = withSessionLock<{ params: string }>(lock, async (request, { params, sessionLock }) => {
      expect(sessionLock?.body).toEqual(whatsapp('ada'))
      return Response.json({ params, body: await request.json(), token: sessionLock?.fencingToken })
    })
    const answer = await (await handler(ask(whatsapp('ada')), { params: 'p' })).json()
    expect(answer).toEqual({ params: 'p', body: whatsapp('ada'), token: 7 })
  })

  it('a short answer is finished without a client; a long one when it is read, or given up', async () => {
    const short = holdOf([0])
    await withSessionLock(lockThatGives(short).lock, () => new Response('ok'))(ask(whatsapp('ada')))
    expect(await short.settled).toEqual({ status: 'completed' })

    const megabyte = () => new Response('x'.repeat(1_000_000)).body?.pipeThrough(new TransformStream()) ?? null
    for (const [end, status] of [
      [(body: ReadableStream | null) => new Response(body).text(), 'completed'],
      [(body: ReadableStream | null) => body?.cancel(), 'failed'],
    ] as const) {
      const hold = holdOf([0])
      const chunks = () => new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(40_000)) })
      const body = status === 'failed' ? chunks() : megabyte()
      const response = await withSessionLock(lockThatGives(hold).lock, () => new Response(body))(ask(whatsapp('ada')))
      await pause(20)
      if (status === 'failed') expect(hold.result).toBeUndefined()
      await end(response.body)
      expect((await hold.settled).status).toBe(status)
    }
  })

  it('a body that breaks fails the message', async () => {
    const hold = holdOf([0])
    const broken = new ReadableStream({ pull: () => Promise.reject(new Error('no luck')) })
    const response = await withSessionLock(lockThatGives(hold).lock, () => new Response(broken))(ask(whatsapp('ada')))
    await expect(response.text()).rejects.toThrow()
    expect(await hold.settled).toMatchObject({ status: 'failed', error: { message: 'no luck' } })
  })

  it('a throw fails the message, and is the caller’s', async () => {
    const hold = holdOf([0])
    const handler = withSessionLock(lockThatGives(hold).lock, () => {
      throw new Error('no luck')
    })
    await expect(handler(ask(whatsapp('ada')))).rejects.toThrow('no luck')
    expect((await hold.settled).status).toBe('failed')
  })

  it('wrapped twice, claimed once, and both promises count', async () => {
    const { lock, deliveries } = lockThatGives(holdOf([0]))
    const handler = withSessionLock(lock, () => new Response('ok'))
    const outer = withSessionLock(lock, (request) => handler(request))
    expect(await (await outer(ask(whatsapp('ada')))).text()).toBe('ok')
    expect(deliveries).toHaveLength(1)
  })

  it('too large, with or without a length: 413', async () => {
    const { lock, deliveries } = lockThatGives(holdOf([0]), { bodyLimitBytes: 1000 })
    const handler = withSessionLock(lock, () => new Response('ran'))
    const endlessBody = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(400)) })
    for (const init of [{ body: 'x'.repeat(2000) }, { body: endlessBody, duplex: 'half' }]) {
      const response = await handler(ask({}, init as RequestInit))
      expect([response.status, response.headers.get('session-lock')]).toEqual([413, 'body-too-large'])
    }
    expect(deliveries).toEqual([])
  })

  it.each([
    ['a compressed body', 415, { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
    ['text that is not UTF-8', 400, { 'content-type': 'application/json' }],
  ])('%s: %i', async (_, status, headers) => {
    const handler = withSessionLock(lockThatGives(holdOf([0])).lock, () => new Response('ran'))
    const response = await handler(ask({}, { headers, body: new Uint8Array([0x22, 0xff, 0x22]) }))
    expect([response.status, response.headers.get('session-lock')]).toEqual([status, 'invalid-body'])
  })

  it('a request that somebody has read is refused with words', async () => {
    const request = ask(whatsapp('ada'))
    await request.text()
    const handler = withSessionLock(lockThatGives(holdOf([0])).lock, () => new Response('ran'))
    await expect(handler(request)).rejects.toThrow('give withSessionLock() the request as it came')
  })

  it('other content types pass unread', async () => {
    const handler = withSessionLock(realLock(), async (request) => new Response(await request.text()))
    const response = await handler(ask({}, { headers: { 'content-type': 'text/plain' }, body: 'hello' }))
    expect(await response.text()).toBe('hello')
  })

  it('a forced answer waits for the handler’s own to end; one that never does fails when the client is gone', async () => {
    const hold = holdOf([0], { withheld: { reason: 'busy', retryAfterMs: 1000, messages: [1] } })
    const { lock } = lockThatGives(hold)
    const handler = withSessionLock(
      lock,
      () =>
        new Response(
          new ReadableStream({ pull: (controller) => pause(5).then(() => controller.enqueue(new Uint8Array(1))) }),
        ),
    )
    const server = createServer(
      (request, response) => void getRequestListener((one) => handler(one))(request, response),
    )
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    closers.push(() => server.close())
    await postAndLeave(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, whatsapp('ada', 'bob'), pause(100))
    expect(await hold.settled).toMatchObject({
      status: 'failed',
      error: { message: expect.stringContaining('middle of the answer') },
    })
  })
})
