/** The Idempotency-Key header: which keys there are, and what its clients are answered. */
import express from 'express'
import { afterEach, describe, expect, it } from 'vitest'
import { createSessionLock, type SessionLock } from '../../src/engine/lock.ts'
import { type RequestLike, withSessionLock } from '../../src/http/express.ts'
import { idempotencyKey } from '../../src/providers/index.ts'
import { gate, listen, post } from '../http/bot.ts'

const incoming = (header: string | string[] | undefined) => ({
  method: 'POST',
  url: '/orders',
  headers: { 'idempotency-key': header },
  body: {},
})

describe('the header', () => {
  const provider = idempotencyKey()
  const keyOf = (header: string) => {
    const delivery = incoming(header)
    return provider.refuses?.(delivery) === undefined ? provider.read(delivery)[0]?.id : 'refused'
  }

  it('is a quoted string', () => {
    expect(keyOf('"8e03978e-40d5-43dd-bc93-6894a57f9324"')).toBe('8e03978e-40d5-43dd-bc93-6894a57f9324')
    expect(keyOf('  "a b"  ')).toBe('a b')
    expect(keyOf('"a\\"b\\\\c"')).toBe('a"b\\c')
    expect(provider.read(incoming('"a"'))).toEqual([{ id: 'a', prospect: null, device: null, kind: 'event' }])
  })

  it('is refused where it is anything else, or names nothing', () => {
    const wrong = [
      '',
      ' ',
      'abc',
      '"',
      '""',
      '"0"',
      '"a',
      'a"',
      '"a"b"',
      '"a\\b"',
      '"a\\"',
      '"a", "b"',
      '"é"',
      '"a\tb"',
    ]
    for (const header of wrong) expect(keyOf(header), header).toBe('refused')
    expect(provider.refuses?.(incoming(['"a"', '"b"']))).toMatch(/one string in double quotes/)
  })

  it('may do without quotes where that is allowed', () => {
    const lenient = idempotencyKey({ unquoted: true })
    const keyOf = (header: string) => lenient.read(incoming(header))[0]?.id
    for (const header of ['"abc"', 'abc', ' abc ']) expect(keyOf(header), header).toBe('abc')
    for (const header of ['', '0', '"abc', 'a"b', 'a, b', 'a b', 'a\\b', 'é']) expect(keyOf(header), header).toBeNull()
    expect(lenient.refuses?.(incoming('a b'))).toMatch(/without spaces, or one in double quotes/)
  })

  it('is read in a time that grows no faster than it', () => {
    const started = performance.now()
    for (const piece of ['\\"', '\\', ' ', 'a', '"']) keyOf(`"${piece.repeat(100_000)}`)
    expect(performance.now() - started).toBeLessThan(500)
  })

  it('may be absent, unless it is required', () => {
    expect(provider.recognises(incoming(undefined))).toBe(false)
    const strict = idempotencyKey({ required: true })
    expect(strict.recognises(incoming(undefined))).toBe(true)
    expect(strict.refuses?.(incoming(undefined))).toMatch(/header is missing/)
  })

  it('belongs to a client where the option tells whose it is', () => {
    const scoped = idempotencyKey({ client: ({ headers }) => headers['x-account'] })
    const delivery = { ...incoming('"a"'), headers: { 'idempotency-key': '"a"', 'x-account': 'acct-7' } }
    expect(scoped.read(delivery)[0]?.device).toBe('acct-7')
  })

  it('takes no other options', () => {
    expect(() => idempotencyKey({ require: true } as never)).toThrow(/no option "require"/)
    expect(() => idempotencyKey({ required: 'yes' } as never)).toThrow(/"required" .* takes a boolean/)
  })
})

describe('over HTTP', () => {
  let lock: SessionLock | undefined
  afterEach(() => lock?.close())

  async function api(handler: (req: RequestLike) => Promise<unknown>): Promise<string> {
    const provider = idempotencyKey({ required: true })
    lock = createSessionLock({ store: 'memory:', logger: false, lockWaitMs: 50, provider })
    const app = express()
    const handle = withSessionLock(lock, async (req, res) => {
      res.status(201).json(await handler(req))
    })
    app.post('/orders', express.json(), handle)
    return `${await listen(app)}/orders`
  }

  it('refuses a request without a key, and one whose key is none, before the handler', async () => {
    let runs = 0
    const url = await api(async () => ++runs)
    for (const headers of [{}, { 'idempotency-key': 'unquoted' }]) {
      const answer = await post(url, { item: 1 }, headers as Record<string, string>)
      expect(answer.status).toBe(400)
      expect(answer.headers.get('content-type')).toBe('application/problem+json')
      expect(((await answer.json()) as { detail: string }).detail).toMatch(/Idempotency-Key header/)
    }
    expect(runs).toBe(0)
  })

  it('runs a request once, however often it comes, and 409 while it runs', async () => {
    let runs = 0
    const [begun, open] = [gate(), gate()]
    const url = await api(async () => {
      runs++
      begun.pass()
      await open.passed
      return { order: runs }
    })
    const send = (key: string) => post(url, { item: 1 }, { 'idempotency-key': key })
    const first = send('"k-1"')
    await begun.passed
    expect((await send('"k-1"')).status).toBe(409)
    open.pass()
    expect((await first).status).toBe(201)
    const again = await send('"k-1"')
    expect([again.status, await again.text()]).toEqual([201, '{"order":1}'])
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(runs).toBe(1)
    expect((await send('"k-2"')).status).toBe(201)
    expect(runs).toBe(2)
  })

  it('refuses another body under a key that was used', async () => {
    const url = await api(async () => 'ordered')
    const send = (body: object) => post(url, body, { 'idempotency-key': '"k-1"' })
    expect((await send({ item: 1 })).status).toBe(201)
    expect((await send({ item: 2 })).status).toBe(422)
    expect((await send({ item: 1 })).status).toBe(201)
    expect((await post(`${url}?another=address`, { item: 1 }, { 'idempotency-key': '"k-1"' })).status).toBe(422)
  })
})
