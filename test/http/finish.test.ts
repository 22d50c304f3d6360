/** When a handler is finished, and what it then means for its messages; on both Express versions. */
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Request, Response } from 'express'
import { describe, expect, it } from 'vitest'
import type { SessionLockOptions } from '../../src/engine/options.ts'
import { sessionLock, withSessionLock } from '../../src/http/express.ts'
import { expressVersions, holdOf, listen, lockThatGives, pause, post, postAndLeave, whatsapp } from './bot.ts'

type Handler = (req: Request, res: Response) => unknown

const ADA = whatsapp('ada')

describe.each(expressVersions)('%s', (_, express) => {
  /** A bot with one handler; by `app.use`, or wrapped. */
  async function botWith(
    handler: Handler,
    more: { wrapped?: boolean; options?: SessionLockOptions; signal?: AbortSignal } = {},
  ) {
    const hold = holdOf([0], more.signal ? { signal: more.signal } : {})
    const { lock, lines } = lockThatGives(hold, more.options)
    const app = express()
    const errors: unknown[] = []
    if (more.wrapped) app.post('/', withSessionLock(lock, handler))
    else {
      app.use(sessionLock(lock))
      app.post('/', (req, res, next) => void (async () => handler(req, res))().catch(next))
    }
    app.use((error: unknown, _req: Request, res: Response, next: (error: unknown) => void) => {
      errors.push(error)
      if (res.headersSent) next(error)
      else res.status(500).send('error page')
    })
    return { url: await listen(app), hold, errors, lines }
  }

  describe('the status', () => {
    it.each([200, 201, 204, 302, 304, 400, 410, 422])('%i completes the message', async (status) => {
      const bot = await botWith((_req, res) => res.status(status).end())
      expect((await post(bot.url, ADA)).status).toBe(status)
      expect(await bot.hold.settled).toEqual({ status: 'completed' })
    })

    it.each([401, 403, 404, 409, 429, 500, 502, 503])('%i fails it', async (status) => {
      const bot = await botWith((_req, res) => res.status(status).end())
      expect((await post(bot.url, ADA)).status).toBe(status)
      expect(await bot.hold.settled).toMatchObject({
        status: 'failed',
        error: { message: `the handler answered ${status}` },
      })
    })

    it('a route that is not there fails it', async () => {
      const hold = holdOf([0])
      const app = express()
      app.use(sessionLock(lockThatGives(hold).lock))
      expect((await post(await listen(app), ADA)).status).toBe(404)
      expect((await hold.settled).status).toBe('failed')
    })

    it('isSuccess decides in its place; when it throws, the message fails', async () => {
      const never = await botWith((_req, res) => res.sendStatus(200), {
        options: { isSuccess: (status) => status === 500 },
      })
      await post(never.url, ADA)
      expect((await never.hold.settled).status).toBe('failed')
      const isSuccess = () => {
        throw new Error('a bug')
      }
      const broken = await botWith((_req, res) => res.sendStatus(200), { options: { isSuccess } })
      await post(broken.url, ADA)
      expect(await broken.hold.settled).toMatchObject({ status: 'failed', error: { message: 'a bug' } })
    })
  })

  describe.each([
    ['app.use', false],
    ['withSessionLock', true],
  ] as const)('%s', (__, wrapped) => {
    it('a throw fails the message and goes to the error handlers', async () => {
      const bot = await botWith(
        async () => {
          await pause(5)
          throw new Error('no luck')
        },
        { wrapped },
      )
      const response = await post(bot.url, ADA)
      expect([response.status, await response.text()]).toEqual([500, 'error page'])
      expect((await bot.hold.settled).status).toBe('failed')
      expect(bot.errors).toMatchObject([{ message: 'no luck' }])
    })

    it('next(err) fails the message', async () => {
      const hold = holdOf([0])
      const { lock } = lockThatGives(hold)
      const app = express()
      if (wrapped)
        app.post(
          '/',
          withSessionLock(lock, (_req, _res, next) => next(new Error('no luck'))),
        )
      else app.post('/', sessionLock(lock), (_req, _res, next) => next(new Error('no luck')))
      app.use((_error: unknown, _req: Request, res: Response, _next: unknown) => res.sendStatus(502))
      expect((await post(await listen(app), ADA)).status).toBe(502)
      expect((await hold.settled).status).toBe('failed')
    })

    it('client gone early: nothing is settled until the handler has ended, then as it ended', async () => {
      let closed = false
      const bot = await botWith(
        async (_req, res) => {
          res.on('close', () => {
            closed = true
          })
          await pause(300)
          res.sendStatus(200)
        },
        { wrapped, options: { staleAfterMs: 100 } },
      )
      await postAndLeave(bot.url, ADA, 50)
      await pause(100)
      expect(closed).toBe(true)
      expect(bot.hold.result).toBeUndefined()
      expect(await bot.hold.settled).toEqual({ status: 'completed' })
    })

    it('client gone early, and the handler fails', async () => {
      const bot = await botWith(
        async () => {
          await pause(150)
          throw new Error('no luck')
        },
        { wrapped },
      )
      await postAndLeave(bot.url, ADA, 50)
      expect((await bot.hold.settled).status).toBe('failed')
    })

    it('client gone early, and the handler never ends: nothing is settled', async () => {
      const bot = await botWith(() => new Promise(() => {}), { wrapped, options: { staleAfterMs: 100 } })
      await postAndLeave(bot.url, ADA, 50)
      await pause(400)
      expect(bot.hold.result).toBeUndefined()
    })

    it('waitUntil: settled when the work is done, after the answer has left', async () => {
      let done = false
      const bot = await botWith(
        (req, res) => {
          res.sendStatus(200)
          const work = pause(200).then(() => {
            done = true
          })
          req.sessionLock?.waitUntil(work)
        },
        { wrapped },
      )
      expect((await post(bot.url, ADA)).status).toBe(200)
      expect(bot.hold.result).toBeUndefined()
      expect(await bot.hold.settled).toEqual({ status: 'completed' })
      expect(done).toBe(true)
    })

    it('waitUntil: waits for all, and a rejected one fails the message', async () => {
      const bot = await botWith(
        (req, res) => {
          req.sessionLock?.waitUntil(pause(20).then(() => Promise.reject(new Error('no luck'))))
          req.sessionLock?.waitUntil(pause(150))
          res.sendStatus(200)
        },
        { wrapped },
      )
      await post(bot.url, ADA)
      await pause(60)
      expect(bot.hold.result).toBeUndefined()
      expect(await bot.hold.settled).toMatchObject({ status: 'failed', error: { message: 'no luck' } })
    })

    it('waitUntil: too late is logged, and rejects into nobody’s face', async () => {
      const bot = await botWith(
        (req, res) => {
          res.sendStatus(200)
          setTimeout(() => req.sessionLock?.waitUntil(Promise.reject(new Error('late'))), 50)
        },
        { wrapped },
      )
      await post(bot.url, ADA)
      await pause(100)
      expect(bot.hold.result).toEqual({ status: 'completed' })
      expect(bot.lines.some((line) => line.includes('waitUntil() was called after'))).toBe(true)
    })

    it('fail(error): fails whatever the status', async () => {
      const bot = await botWith(
        (req, res) => {
          req.sessionLock?.fail(new Error('no luck'))
          res.sendStatus(200)
        },
        { wrapped },
      )
      expect((await post(bot.url, ADA)).status).toBe(200)
      expect(await bot.hold.settled).toMatchObject({ status: 'failed', error: { message: 'no luck' } })
    })

    it.each<[string, Handler]>([
      ['piped', (_req, res) => void Readable.from(['a', 'b']).pipe(res)],
      ['pipelined', (_req, res) => pipeline(Readable.from(['a', 'b']), res)],
      [
        'streamed',
        async (_req, res) => {
          res.writeHead(200, { 'Content-Type': 'text/event-stream' })
          res.flushHeaders()
          for (const event of ['a', 'b']) {
            res.write(event)
            await pause(10)
          }
          res.end()
        },
      ],
      ['sent', (_req, res) => res.send('ab')],
    ])('a %s answer completes at its end', async (___, handler) => {
      const bot = await botWith(handler, { wrapped })
      expect(await (await post(bot.url, ADA)).text()).toBe('ab')
      expect(await bot.hold.settled).toEqual({ status: 'completed' })
    })

    it('a pipeline whose client goes away is failed after staleAfterMs, not before', async () => {
      const bot = await botWith((_req, res) => pipeline(endless(), res).catch(() => undefined), {
        wrapped,
        options: { staleAfterMs: 200 },
      })
      await postAndLeave(bot.url, ADA, 'first bytes')
      await pause(120)
      expect(bot.hold.result).toBeUndefined()
      expect(await bot.hold.settled).toMatchObject({ status: 'failed' })
    })

    it('… unless a waitUntil is pending', async () => {
      let finish: () => void = () => {}
      const work = new Promise<void>((resolve) => {
        finish = resolve
      })
      const bot = await botWith(
        (req, res) => {
          req.sessionLock?.waitUntil(work)
          return pipeline(endless(), res).catch(() => undefined)
        },
        { wrapped, options: { staleAfterMs: 100 } },
      )
      await postAndLeave(bot.url, ADA, 'first bytes')
      await pause(350)
      expect(bot.hold.result).toBeUndefined()
      finish()
      expect((await bot.hold.settled).status).toBe('failed')
    })
  })

  it('withSessionLock: the response has ended, but the promise has not settled', async () => {
    const bot = await botWith(
      async (_req, res) => {
        res.sendStatus(200)
        await pause(150)
      },
      { wrapped: true },
    )
    await post(bot.url, ADA)
    await pause(50)
    expect(bot.hold.result).toBeUndefined()
    expect(await bot.hold.settled).toEqual({ status: 'completed' })
  })

  it('withSessionLock: the promise has settled, but the response has not ended', async () => {
    const bot = await botWith((_req, res) => void setTimeout(() => res.sendStatus(200), 150), { wrapped: true })
    const response = post(bot.url, ADA)
    await pause(80)
    expect(bot.hold.result).toBeUndefined()
    expect((await response).status).toBe(200)
    expect(await bot.hold.settled).toEqual({ status: 'completed' })
  })

  it('withSessionLock: a throw after the answer fails the message', async () => {
    const bot = await botWith(
      async (_req, res) => {
        res.sendStatus(200)
        await pause(20)
        throw new Error('no luck')
      },
      { wrapped: true },
    )
    expect((await post(bot.url, ADA)).status).toBe(200)
    expect(await bot.hold.settled).toMatchObject({ status: 'failed', error: { message: 'no luck' } })
  })
})

/** An answer without an end. */
function endless(): Readable {
  return Readable.from(
    (async function* () {
      while (true) {
        yield 'more '
        await pause(5)
      }
    })(),
  )
}

describe('a forced answer swallows the handler’s own', () => {
  const file = new URL('./bot.ts', import.meta.url).pathname
  const ways: ReadonlyArray<readonly [string, Handler]> = [
    ['json', (_req, res) => res.json({ ok: true })],
    ['send', (_req, res) => res.set('ETag', '"x"').cookie('a', 'b').send('ok')],
    ['sendFile', (_req, res) => res.sendFile(file)],
    ['redirect', (_req, res) => res.redirect('/elsewhere')],
    ['end', (_req, res) => res.end()],
    ['end with a callback', (_req, res) => new Promise<void>((resolve) => res.end('ok', () => resolve()))],
    ['pipe', (_req, res) => void Readable.from(['a', 'b']).pipe(res)],
    ['pipeline', (_req, res) => pipeline(Readable.from(['a', 'b']), res)],
    ['a web stream', (_req, res) => new Response('ab').body?.pipeTo(asWeb(res))],
    ['writeHead', (_req, res) => res.writeHead(200, { 'Content-Length': 2 }).end('ok')],
    [
      'server-sent events',
      async (_req, res) => {
        res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Content-Encoding': 'identity' })
        res.flushHeaders()
        await new Promise<void>((resolve) => res.write('data: a\n\n', () => resolve()))
        res.write('data: b\n\n')
        res.end()
      },
    ],
  ]

  describe.each(expressVersions)('%s', (_, express) => {
    async function forcedBot(handler: Handler) {
      const hold = holdOf([0], { withheld: { reason: 'busy', retryAfterMs: 1500, messages: [1] } })
      const app = express()
      app.use((_req, res, next) => {
        res.set('X-Before', 'kept')
        next()
      })
      app.post('/', sessionLock(lockThatGives(hold).lock), handler)
      return { url: await listen(app), hold }
    }

    it.each(ways)('%s', async (__, handler) => {
      const bot = await forcedBot(handler)
      const response = await post(bot.url, whatsapp('ada', 'bob'))
      expect(response.status).toBe(503)
      expect(Object.fromEntries(response.headers)).toMatchObject({
        'session-lock': 'busy',
        'retry-after': '2',
        'content-type': 'application/problem+json',
        'x-before': 'kept',
      })
      for (const name of ['etag', 'set-cookie', 'location', 'content-encoding', 'last-modified']) {
        expect(response.headers.get(name)).toBeNull()
      }
      expect(await response.json()).toMatchObject({ status: 503 })
      expect(await bot.hold.settled).toEqual({ status: 'completed' })
    })

    it('the handler’s own status decides about its messages', async () => {
      for (const handler of [
        ((_req, res) => res.status(500).json({})) as Handler,
        ((_req, res) => void res.writeHead(404).end('no')) as Handler,
        () => {
          throw new Error('no luck')
        },
      ]) {
        const bot = await forcedBot(handler)
        expect((await post(bot.url, whatsapp('ada', 'bob'))).status).toBe(503)
        expect((await bot.hold.settled).status).toBe('failed')
      }
    })

    it('a deserted one is failed after staleAfterMs, once it has begun', async () => {
      const hold = holdOf([0], { withheld: { reason: 'busy', retryAfterMs: 1500, messages: [1] } })
      const app = express()
      app.post('/', sessionLock(lockThatGives(hold, { staleAfterMs: 100 }).lock), (_req, res) => {
        pipeline(endless(), res).catch(() => undefined)
      })
      await postAndLeave(await listen(app), whatsapp('ada', 'bob'), 50)
      expect((await hold.settled).status).toBe('failed')
    })
  })
})

function asWeb(writable: Writable): WritableStream {
  return new WritableStream({
    write: (chunk) => new Promise<void>((resolve) => void writable.write(chunk, () => resolve())),
    close: () => void writable.end(),
  })
}
