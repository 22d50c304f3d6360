/** When a handler is finished, and what it then means for its messages; on both Express versions. */
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Request, Response } from 'express'
import { describe, expect, it } from 'vitest'
import { sessionLock, withSessionLock } from '../../src/http/express.ts'
import {
  botOn,
  endless,
  expressVersions,
  gate,
  type Handler,
  holdOf,
  listen,
  lockThatGives,
  pause,
  post,
  postAndLeave,
  whatsapp,
} from './bot.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const ADA = whatsapp('ada')

describe.each(expressVersions)('%s', (_, express) => {
  const botWith = botOn(express)

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

    it('an answered request is not kept in memory', async () => {
      const requests: WeakRef<Request>[] = []
      const bot = await botWith(
        async (req, res) => {
          requests.push(new WeakRef(req))
          res.sendStatus(200)
        },
        { wrapped },
      )
      for (let count = 0; count < 20; count += 1) expect((await post(bot.url, ADA)).status).toBe(200)
      const kept = () => {
        collectGarbage()
        return requests.filter((request) => request.deref()).length
      }
      // Node's own connections keep their last one.
      await expect.poll(kept, { timeout: 5000 }).toBeLessThanOrEqual(2)
    })

    it('client gone early: nothing is settled until the handler has ended, then as it ended', async () => {
      const [started, gone, end] = [gate(), gate(), gate()]
      const bot = await botWith(
        async (_req, res) => {
          res.on('close', gone.pass)
          started.pass()
          await end.passed
          res.sendStatus(200)
        },
        { wrapped, options: { staleAfterMs: 100 } },
      )
      await postAndLeave(bot.url, ADA, started.passed)
      await gone.passed
      await pause(250)
      expect(bot.hold.result).toBeUndefined()
      end.pass()
      expect(await bot.hold.settled).toEqual({ status: 'completed' })
    })

    it('client gone early, and the handler fails', async () => {
      const [started, gone] = [gate(), gate()]
      const bot = await botWith(
        async (_req, res) => {
          res.on('close', gone.pass)
          started.pass()
          await gone.passed
          throw new Error('no luck')
        },
        { wrapped },
      )
      await postAndLeave(bot.url, ADA, started.passed)
      expect((await bot.hold.settled).status).toBe('failed')
    })

    it('client gone early, and the handler never ends: nothing is settled', async () => {
      const started = gate()
      const handler = () => {
        started.pass()
        return new Promise(() => {})
      }
      const bot = await botWith(handler, { wrapped, options: { staleAfterMs: 100 } })
      await postAndLeave(bot.url, ADA, started.passed)
      await pause(350)
      expect(bot.hold.result).toBeUndefined()
    })

    it('waitUntil: settled when the work is done, after the answer has left', async () => {
      const work = gate()
      const bot = await botWith(
        (req, res) => {
          res.sendStatus(200)
          req.sessionLock?.waitUntil(work.passed)
        },
        { wrapped },
      )
      expect((await post(bot.url, ADA)).status).toBe(200)
      await pause(50)
      expect(bot.hold.result).toBeUndefined()
      work.pass()
      expect(await bot.hold.settled).toEqual({ status: 'completed' })
    })

    it('waitUntil: waits for all, and a rejected one fails the message', async () => {
      const work = gate()
      const bot = await botWith(
        (req, res) => {
          req.sessionLock?.waitUntil(Promise.reject(new Error('no luck')))
          req.sessionLock?.waitUntil(work.passed)
          res.sendStatus(200)
        },
        { wrapped },
      )
      await post(bot.url, ADA)
      await pause(50)
      expect(bot.hold.result).toBeUndefined()
      work.pass()
      expect(await bot.hold.settled).toMatchObject({ status: 'failed', error: { message: 'no luck' } })
    })

    it('an answer that somebody else ended before is no end of the handler', async () => {
      const hold = holdOf([0])
      const { lock } = lockThatGives(hold)
      const begun = gate()
      const app = express()
      app.use(express.json(), (_req, res, next) => {
        res.sendStatus(200)
        next()
      })
      if (wrapped)
        app.post(
          '/',
          withSessionLock(lock, () => begun.pass()),
        )
      else app.post('/', sessionLock(lock), () => begun.pass())
      const url = await listen(app)
      await Promise.all([post(url, ADA), begun.passed])
      await pause(50)
      expect(hold.result).toBeUndefined()
    })
    it('waitUntil: too late is logged, and rejects into nobody’s face', async () => {
      const settled = gate()
      const said = gate()
      const bot = await botWith(
        async (req, res) => {
          res.sendStatus(200)
          void settled.passed.then(() => {
            req.sessionLock?.waitUntil(Promise.reject(new Error('late')))
            setImmediate(said.pass)
          })
        },
        { wrapped },
      )
      await post(bot.url, ADA)
      expect(await bot.hold.settled).toEqual({ status: 'completed' })
      settled.pass()
      await said.passed
      expect(bot.lines.filter((line) => /waitUntil\(\)/.test(line))).toHaveLength(2)
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
      let goneAt = 0
      const bot = await botWith(
        (_req, res) => {
          res.on('close', () => {
            goneAt = performance.now()
          })
          return pipeline(endless(), res).catch(() => undefined)
        },
        { wrapped, options: { staleAfterMs: 200 } },
      )
      await postAndLeave(bot.url, ADA, 'first bytes')
      expect(await bot.hold.settled).toMatchObject({ status: 'failed' })
      expect(performance.now() - goneAt).toBeGreaterThanOrEqual(195)
    })

    it('… unless a waitUntil is pending', async () => {
      const work = gate()
      const bot = await botWith(
        (req, res) => {
          req.sessionLock?.waitUntil(work.passed)
          return pipeline(endless(), res).catch(() => undefined)
        },
        { wrapped, options: { staleAfterMs: 100 } },
      )
      await postAndLeave(bot.url, ADA, 'first bytes')
      await pause(350)
      expect(bot.hold.result).toBeUndefined()
      work.pass()
      expect((await bot.hold.settled).status).toBe('failed')
    })
  })

  it('withSessionLock: the response has ended, but the promise has not settled', async () => {
    const end = gate()
    const bot = await botWith(
      async (_req, res) => {
        res.sendStatus(200)
        await end.passed
      },
      { wrapped: true },
    )
    await post(bot.url, ADA)
    await pause(50)
    expect(bot.hold.result).toBeUndefined()
    end.pass()
    expect(await bot.hold.settled).toEqual({ status: 'completed' })
  })

  it('withSessionLock: the promise has settled, but the response has not ended', async () => {
    const [started, end] = [gate(), gate()]
    const bot = await botWith(
      (_req, res) => {
        started.pass()
        void end.passed.then(() => res.sendStatus(200))
      },
      { wrapped: true },
    )
    const response = post(bot.url, ADA)
    await started.passed
    await pause(50)
    expect(bot.hold.result).toBeUndefined()
    end.pass()
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
