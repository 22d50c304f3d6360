/** What each framework has of its own, beside the behaviour that all share. */
import Fastify, { type FastifyReply } from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { afterEach, describe, expect, it } from 'vitest'
import { OptionsError } from '../../src/engine/errors.ts'
import { createSessionLock } from '../../src/engine/lock.ts'
import { withSessionLock } from '../../src/http/express.ts'
import { sessionLock as fastifyLock } from '../../src/http/fastify.ts'
import { withSessionLock as withFetchLock } from '../../src/http/fetch.ts'
import { sessionLock as honoLock } from '../../src/http/hono.ts'
import { type KoaContextLike, sessionLock as koaLock } from '../../src/http/koa.ts'
import { protect } from '../../src/http/node-http.ts'
import { gate, holdOf, lockThat, lockThatGives, post, postAndLeave, whatsapp } from './bot.ts'
import { ask, serve, silent } from './frameworks.ts'

const DUPLICATE = { outcome: 'duplicate', of: 'completed', response: null } as const
const closers: Array<() => unknown> = []

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

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
    const response = await post(await serve(app.callback()), whatsapp('ada'))
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
    const response = await post(await serve(app.callback()), 'read by others')
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

  it('a throw fails the message, also where the error page is a 200', async () => {
    const hold = holdOf([0])
    const app = new Hono().use(honoLock(lockThatGives(hold).lock))
    app.onError((_error, context) => context.text('sorry', 200))
    app.post('/', () => {
      throw new Error('no luck')
    })
    expect(await (await app.request(ask(whatsapp('ada')))).text()).toBe('sorry')
    expect(await hold.settled).toMatchObject({ status: 'failed', error: { message: 'no luck' } })
  })

  it('a forced answer has none of the handler’s headers', async () => {
    const withheld = { reason: 'busy', retryAfterMs: 1000, messages: [1] } as const
    const app = new Hono().use(honoLock(lockThatGives(holdOf([0], { withheld })).lock))
    app.post('/', (context) => context.text('ok', 200, { 'x-own': 'yes' }))
    const { status, headers } = await app.request(ask(whatsapp('ada', 'bob')))
    expect([status, headers.get('retry-after'), headers.get('x-own')]).toEqual([503, '1', null])
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

describe('what wraps a handler', () => {
  it.each([
    ['withSessionLock of Express', 'handler', withSessionLock],
    ['withSessionLock of fetch', 'handler', withFetchLock],
    ['protect of node:http', 'listener', protect],
  ] as ReadonlyArray<[string, string, (lock: unknown, wrapped?: unknown) => unknown]>)(
    '%s refuses whatever is no lock, and no function',
    (_, wrapped, wrap) => {
      const [lock, handler] = [realLock(), () => undefined]
      for (const notLock of [{ store: 'memory:' }, handler, undefined]) {
        expect(() => wrap(notLock, handler)).toThrow(/option "lock" takes a lock: createSessionLock/)
        expect(() => wrap(notLock, lock)).toThrow(OptionsError)
      }
      for (const notHandler of [undefined, { store: 'memory:' }]) {
        expect(() => wrap(lock, notHandler)).toThrow(new RegExp(`option "${wrapped}" takes a function`))
      }
    },
  )
})
