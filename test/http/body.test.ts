/** Whose body is read, with what limits, and what a signature is checked over; on both Express versions. */
import { createHmac } from 'node:crypto'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Response as ExpressResponse, Request } from 'express'
import { describe, expect, it } from 'vitest'
import type { SessionLockOptions } from '../../src/engine/options.ts'
import { keepRawBody, sessionLock } from '../../src/http/express.ts'
import { expressVersions, holdOf, listen, lockThatGives, post, whatsapp } from './bot.ts'

const ADA = JSON.stringify(whatsapp('ada'))

describe.each(expressVersions)('%s', (_, express) => {
  type Middleware = ReturnType<typeof express.json>

  /** A bot that answers with what it sees. */
  async function botWith(
    options: SessionLockOptions = {},
    before: Middleware[] = [],
    after: Middleware[] = [],
    fresh = [0],
  ) {
    const told = lockThatGives(holdOf(fresh), options)
    const app = express()
    app.use(...before, sessionLock(told.lock), ...after)
    app.use((req: Request, res: ExpressResponse) => {
      const body = Buffer.isBuffer(req.body) ? { buffer: req.body.toString() } : req.body
      res.json({ body, type: typeof req.body, rawLength: (req as { rawBody?: Buffer }).rawBody?.length })
    })
    app.use((error: Error, _req: Request, res: ExpressResponse, _next: unknown) => {
      res.status(500).send(error.message)
    })
    return { ...told, url: await listen(app) }
  }

  async function expectRefusal(response: Response, status: number, outcome: string) {
    expect(response.status).toBe(status)
    expect(response.headers.get('session-lock')).toBe(outcome)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    return response.text()
  }

  describe('on a bare app', () => {
    it('JSON is read, and its bytes are kept', async () => {
      const bot = await botWith()
      for (const type of ['application/json', 'application/json; charset=utf-8', 'application/cloudevents+json']) {
        const response = await post(bot.url, ADA, { 'content-type': type })
        expect(await response.json()).toMatchObject({ body: whatsapp('ada'), rawLength: ADA.length })
      }
      expect(bot.deliveries).toHaveLength(3)
    })

    it('forms are read', async () => {
      const bot = await botWith({ key: { messageId: 'MessageSid' } })
      const response = await post(bot.url, 'MessageSid=SM1&Body=hi', {
        'content-type': 'application/x-www-form-urlencoded',
      })
      expect(await response.json()).toMatchObject({ body: { MessageSid: 'SM1', Body: 'hi' } })
      expect(bot.deliveries).toMatchObject([{ provider: 'generic', messages: [{ id: 'SM1' }] }])
    })

    it('other content types, and POSTs without a body, pass unread', async () => {
      const bot = await botWith({}, [], [express.text({ type: 'text/*' })])
      const response = await post(bot.url, 'hello', { 'content-type': 'text/plain' })
      expect(await response.json()).toMatchObject({ body: 'hello' })
      expect((await fetch(bot.url, { method: 'POST' })).status).toBe(200)
      expect(bot.deliveries).toEqual([])
    })

    it('a compressed body is read, and its limit is that of what comes out', async () => {
      const bot = await botWith({ bodyLimitBytes: 10_000 })
      const gzip = (text: string) =>
        fetch(bot.url, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'content-encoding': 'gzip' },
          body: gzipSync(text),
        })
      expect(await (await gzip(ADA)).json()).toMatchObject({ body: whatsapp('ada') })
      await expectRefusal(await gzip(JSON.stringify('x'.repeat(1_000_000))), 413, 'body-too-large')
    })

    it('body parsers of the app’s own, mounted behind, find it read', async () => {
      const bot = await botWith({}, [], [express.json(), express.urlencoded({ extended: false })])
      expect(await (await post(bot.url, ADA)).json()).toMatchObject({ body: whatsapp('ada') })
    })

    it('broken JSON: 400, without a word of it', async () => {
      const bot = await botWith()
      const text = await expectRefusal(await post(bot.url, '{"secret": "4711'), 400, 'invalid-body')
      expect(text).not.toContain('4711')
      expect(bot.lines.join()).not.toContain('4711')
    })

    it.each([
      ['an unknown charset', 415, { 'content-type': 'application/json; charset=klingon' }],
      ['an unknown encoding', 415, { 'content-encoding': 'klingon' }],
      ['what is no gzip', 400, { 'content-encoding': 'gzip' }],
    ])('%s: %i', async (__, status, headers) => {
      const bot = await botWith()
      await expectRefusal(await post(bot.url, ADA, headers), status, 'invalid-body')
    })

    it('a malformed content type is never a 500', async () => {
      const bot = await botWith()
      for (const type of ['application/json; charset', 'application/json; =', 'application/json;;;"', ';', '/']) {
        expect((await post(bot.url, ADA, { 'content-type': type })).status).toBeLessThan(500)
      }
    })

    it('too large: 413, and the connection is fit for the next request', async () => {
      const bot = await botWith({ bodyLimitBytes: 1000 })
      const { port } = new URL(bot.url)
      const answers = await new Promise<string>((resolve, reject) => {
        let text = ''
        const socket = connect(Number(port), '127.0.0.1', () => {
          const large = JSON.stringify({ text: 'x'.repeat(5_000_000) })
          const head = (length: number, close = '') =>
            `POST / HTTP/1.1\r\nHost: bot\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n${close}\r\n`
          socket.write(`${head(large.length)}${large}${head(2, 'Connection: close\r\n')}{}`)
        })
        socket.on('data', (bytes) => {
          text += bytes.toString()
        })
        socket.on('end', () => resolve(text))
        socket.on('error', reject)
      })
      expect(answers.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 413', 'HTTP/1.1 200'])
    })

    it('a 2 MB delivery is read', async () => {
      const bot = await botWith()
      const large = { ...whatsapp('ada'), filler: 'x'.repeat(2_000_000) }
      expect((await post(bot.url, large)).status).toBe(200)
      expect(bot.deliveries).toHaveLength(1)
    })

    it('a body nested a hundred thousand deep is no trouble', async () => {
      const bot = await botWith()
      const deep = `${ADA.slice(0, -1)},"deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
      expect((await post(bot.url, deep)).status).toBeLessThan(600)
      expect(bot.deliveries).toHaveLength(1)
    })
  })

  describe('where somebody has parsed it', () => {
    it('the body is taken as it stands, and a reduced one is a new one', async () => {
      let original: unknown
      const remember: Middleware = (req, _res, next) => {
        original = (req as Request).body
        next()
      }
      const bot = await botWith({}, [express.json(), remember], [], [1])
      const seen = (await (await post(bot.url, whatsapp('ada', 'bob'))).json()) as { body: unknown }
      expect(JSON.stringify(seen.body)).not.toContain('wamid.ada')
      expect(original).toEqual(whatsapp('ada', 'bob'))
    })

    it('bytes stay bytes, and text stays text', async () => {
      const raw = await botWith({}, [express.raw({ type: 'application/json' })], [], [1])
      const bytes = (await (await post(raw.url, whatsapp('ada', 'bob'))).json()) as { body: { buffer: string } }
      expect(JSON.parse(bytes.body.buffer).entry[0].changes[0].value.messages).toMatchObject([{ id: 'wamid.bob' }])
      const text = await botWith({}, [express.text({ type: 'application/json' })], [], [1])
      expect(await (await post(text.url, whatsapp('ada', 'bob'))).json()).toMatchObject({ type: 'string' })
    })

    it.each([
      ['bytes', express.raw({ type: '*/*' })],
      ['text', express.text({ type: '*/*' })],
    ])('a form, or JSON behind a byte order mark, is read where it was left as %s', async (__, parser) => {
      const bot = await botWith({ key: { messageId: 'MessageSid' } }, [parser])
      const form = { 'content-type': 'application/x-www-form-urlencoded' }
      expect((await post(bot.url, 'MessageSid=SM1&Body=h%C3%A9', form)).status).toBe(200)
      expect((await post(bot.url, `\ufeff${ADA}`)).status).toBe(200)
      expect(bot.deliveries.flatMap(({ messages }) => messages)).toMatchObject([{ id: 'SM1' }, { id: 'wamid.ada' }])
    })

    it('a parser that left an empty object behind has not parsed it', async () => {
      const bot = await botWith({}, [express.urlencoded({ extended: false })])
      expect(await (await post(bot.url, ADA)).json()).toMatchObject({ body: whatsapp('ada') })
      expect(bot.deliveries).toHaveLength(1)
    })
  })

  describe('signatures', () => {
    const sign = (text: string, secret = 'app secret') => ({
      'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(text).digest('hex')}`,
    })

    it('right: through; wrong or missing: 401 before any claim', async () => {
      const bot = await botWith({ secret: 'app secret' })
      expect((await post(bot.url, ADA, sign(ADA))).status).toBe(200)
      await expectRefusal(await post(bot.url, ADA), 401, 'invalid-signature')
      await expectRefusal(await post(bot.url, ADA, sign(`${ADA} `)), 401, 'invalid-signature')
      await expectRefusal(await post(bot.url, ADA, sign(ADA, 'other')), 401, 'invalid-signature')
      expect(bot.deliveries).toHaveLength(1)
    })

    it('also of deliveries that hold no message', async () => {
      const bot = await botWith({ secret: 'app secret' })
      const update = {
        object: 'whatsapp_business_account',
        entry: [{ changes: [{ field: 'account_update', value: {} }] }],
      }
      await expectRefusal(await post(bot.url, update), 401, 'invalid-signature')
      expect((await post(bot.url, update, sign(JSON.stringify(update)))).status).toBe(200)
    })

    it('are over the bytes, not over what the JSON means', async () => {
      const bot = await botWith({ secret: 'app secret' })
      const spaced = ADA.replaceAll(':', ' : ').replace('hello', '\\u0068\\u00e9llo')
      expect((await post(bot.url, spaced, sign(spaced))).status).toBe(200)
    })

    it('several secrets while one replaces another, and one per provider', async () => {
      for (const secret of [['old', 'new'], { 'whatsapp-cloud': 'new' }, { 'whatsapp-cloud': ['old', 'new'] }]) {
        const bot = await botWith({ secret })
        expect((await post(bot.url, ADA, sign(ADA, 'new'))).status).toBe(200)
        await expectRefusal(await post(bot.url, ADA, sign(ADA, 'app secret')), 401, 'invalid-signature')
      }
    })

    it('with a provider named, every POST is checked', async () => {
      const bot = await botWith({ secret: 'app secret', provider: 'whatsapp-cloud' })
      await expectRefusal(await post(bot.url, { hello: 'world' }), 401, 'invalid-signature')
      await expectRefusal(await post(bot.url, 'hello', { 'content-type': 'text/plain' }), 401, 'invalid-signature')
      const body = JSON.stringify({ hello: 'world' })
      expect((await post(bot.url, body, sign(body))).status).toBe(200)
    })

    it('where the body was parsed without its bytes: an error says what to add', async () => {
      const bot = await botWith({ secret: 'app secret' }, [express.json()])
      const response = await post(bot.url, ADA, sign(ADA))
      expect(response.status).toBe(500)
      expect(await response.text()).toContain('express.json({ verify: keepRawBody })')
      expect(bot.deliveries).toEqual([])
    })

    it('keepRawBody keeps the bytes, and a rawBody that others have kept will do', async () => {
      const keep = await botWith({ secret: 'app secret' }, [express.json({ verify: keepRawBody })])
      expect((await post(keep.url, ADA, sign(ADA))).status).toBe(200)
      await expectRefusal(await post(keep.url, ADA, sign('other')), 401, 'invalid-signature')
      const theirs: Middleware = (req, _res, next) => {
        Object.assign(req, { rawBody: Buffer.from(ADA) })
        next()
      }
      const platform = await botWith({ secret: 'app secret' }, [express.json(), theirs])
      expect((await post(platform.url, ADA, sign(ADA))).status).toBe(200)
    })

    it('none set: said once in the log', async () => {
      const bot = await botWith()
      await post(bot.url, ADA)
      await post(bot.url, ADA)
      expect(bot.lines.filter((line) => line.includes('signatures are not checked'))).toHaveLength(1)
    })
  })
})
