/** The forced answer, whichever way the handler gives its own; on both Express versions. */
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { sessionLock } from '../../src/http/express.ts'
import {
  endless,
  expressVersions,
  gate,
  type Handler,
  holdOf,
  listen,
  lockThatGives,
  post,
  postAndLeave,
  whatsapp,
} from './bot.ts'

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
      const started = gate()
      app.post('/', sessionLock(lockThatGives(hold, { staleAfterMs: 100 }).lock), (_req, res) => {
        pipeline(endless(), res).catch(() => undefined)
        started.pass()
      })
      await postAndLeave(await listen(app), whatsapp('ada', 'bob'), started.passed)
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
