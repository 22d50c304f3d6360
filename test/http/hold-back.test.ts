/** The answer held back until the commit, whichever way the handler gives it; on both Express versions. */
import { once } from 'node:events'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, expect, it } from 'vitest'
import { MAX_HELD_BYTES } from '../../src/http/hold-back.ts'
import { sessionLock, withSessionLock } from '../../src/index.ts'
import { expressVersions, gate, type Handler, holdOf, listen, lockThatGives, pause, post, whatsapp } from './bot.ts'

const options = { strategy: 'transaction', store: 'mysql://never.opened/bot' } as const

/** A hold that is settled when the gate is open. */
function slowHold(rolledBack?: Error) {
  const hold = holdOf([0])
  const commit = gate()
  const { settle } = hold
  hold.settle = async (result) => {
    await settle(result)
    await commit.passed
    Object.assign(hold, { rolledBack })
    return 'settled'
  }
  return { hold, commit }
}

const file = new URL('./types.ts', import.meta.url).pathname
const ways: ReadonlyArray<readonly [string, Handler]> = [
  ['json', (_req, res) => res.status(201).json({ ok: true })],
  ['send', (_req, res) => res.set('ETag', '"x"').cookie('a', 'b').send('ok')],
  ['sendFile', (_req, res) => res.sendFile(file)],
  ['redirect', (_req, res) => res.redirect('/elsewhere')],
  ['end', (_req, res) => res.end()],
  ['end with a callback', (_req, res) => new Promise<void>((resolve) => res.end('ok', () => resolve()))],
  ['pipe', (_req, res) => void Readable.from(['a', 'b']).pipe(res)],
  ['pipeline', (_req, res) => pipeline(Readable.from(['a', 'b']), res)],
  ['waiting until it is finished', (_req, res) => once(res.end('ok'), 'finish')],
  ['a web stream', (_req, res) => new Response('ab').body?.pipeTo(asWeb(res))],
  ['writeHead', (_req, res) => res.writeHead(202, { 'Content-Length': 2, 'X-Mine': 'yes' }).end('ok')],
  ['bytes', (_req, res) => void res.type('png').end(Buffer.from([0, 255, 1]))],
  ['another encoding', (_req, res) => void res.end('6f6b', 'hex')],
  [
    'server-sent events',
    async (_req, res) => {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' })
      res.flushHeaders()
      await new Promise<void>((resolve) => res.write('data: a\n\n', () => resolve()))
      res.write('data: b\n\n')
      res.end()
    },
  ],
  [
    'an error page after the end',
    (_req, res) => {
      res.send('ok')
      throw new Error('too late')
    },
  ],
]

describe.each(expressVersions)('%s', (_, express) => {
  function appWith(handler: Handler, hold = slowHold(), isWrapped = false) {
    const app = express()
    app.set('env', 'test')
    const { lock } = lockThatGives(hold.hold, options)
    const guarded = (req: Parameters<Handler>[0], res: Parameters<Handler>[1]) => handler(req, res)
    if (isWrapped) app.post('/held', withSessionLock(lock, handler))
    else app.post('/held', sessionLock(lock), (req, res, next) => void (async () => guarded(req, res))().catch(next))
    app.post('/bare', (req, res, next) => void (async () => guarded(req, res))().catch(next))
    return listen(app)
  }

  const shown = async (response: Response) => {
    const { date: _date, ...headers } = Object.fromEntries(response.headers)
    return { status: response.status, headers, body: Buffer.from(await response.arrayBuffer()).toString('hex') }
  }

  const wrapped = ways.filter(([name]) => name !== 'an error page after the end')
  const cases = [
    ...ways.map(([name, handler]) => [name, handler, false] as const),
    ...wrapped.map(([name, handler]) => [`${name}, wrapped`, handler, true] as const),
  ]
  it.each(cases)('%s: nothing goes out before the commit, and then what would have', async (__, handler, isWrapped) => {
    const slow = slowHold()
    const url = await appWith(handler, slow, isWrapped)
    let isThere = false
    const held = post(`${url}/held`, whatsapp('ada')).then((response) => {
      isThere = true
      return response
    })
    expect(await slow.hold.settled).toEqual({ status: 'completed' })
    await pause(20)
    expect(isThere).toBe(false)
    slow.commit.pass()
    expect(await shown(await held)).toEqual(await shown(await post(`${url}/bare`, whatsapp('ada'))))
  })

  it.each(cases)('%s: a failed commit is a 503 in its place', async (__, handler, isWrapped) => {
    const slow = slowHold(new Error('deadlock'))
    slow.commit.pass()
    const response = await post(`${await appWith(handler, slow, isWrapped)}/held`, whatsapp('ada'))
    expect(response.status).toBe(503)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'session-lock': 'not-committed',
      'retry-after': '1',
      'content-type': 'application/problem+json',
    })
    for (const name of ['etag', 'set-cookie', 'location', 'x-mine', 'last-modified']) {
      expect(response.headers.get(name)).toBeNull()
    }
    expect(await response.json()).toMatchObject({ status: 503 })
  })

  it('a refusal of the handler’s own goes out as it is', async () => {
    const slow = slowHold()
    slow.commit.pass()
    const response = await post(
      `${await appWith((_req, res) => res.status(429).send('later'), slow)}/held`,
      whatsapp('ada'),
    )
    expect([response.status, await response.text()]).toEqual([429, 'later'])
    expect((await slow.hold.settled).status).toBe('failed')
  })

  it('a throw goes to the error handlers, and their answer goes out', async () => {
    const slow = slowHold()
    slow.commit.pass()
    const handler: Handler = () => {
      throw new Error('no luck')
    }
    expect((await post(`${await appWith(handler, slow)}/held`, whatsapp('ada'))).status).toBe(500)
    expect((await slow.hold.settled).status).toBe('failed')
  })

  it('a head that was written before a throw is not the answer', async () => {
    const slow = slowHold()
    slow.commit.pass()
    const handler: Handler = (_req, res) => {
      res.writeHead(200, 'Fine', ['X-Mine', 'a', 'X-Mine', 'b'])
      throw new Error('no luck')
    }
    expect((await post(`${await appWith(handler, slow)}/held`, whatsapp('ada'))).status).toBe(500)
    expect((await slow.hold.settled).status).toBe('failed')
  })

  it('a head that cannot be sent is the handler’s to know', async () => {
    for (const head of [
      [200, { 'X-Name': 'Zoë ✓' }],
      [99, {}],
    ] as const) {
      const slow = slowHold()
      slow.commit.pass()
      const handler: Handler = (_req, res) => void res.writeHead(head[0], head[1]).end('ok')
      expect((await post(`${await appWith(handler, slow)}/held`, whatsapp('ada'))).status).toBe(500)
      expect((await slow.hold.settled).status).toBe('failed')
    }
  })

  it('an answer that cannot be sent after all is a 503', async () => {
    const slow = slowHold()
    slow.commit.pass()
    const handler: Handler = (_req, res) => {
      res.statusMessage = 'Zoë ✓'
      res.end('ok')
    }
    expect((await post(`${await appWith(handler, slow)}/held`, whatsapp('ada'))).status).toBe(503)
  })

  it('no success goes out when work after it has failed', async () => {
    for (const handler of [
      ((req, res) => {
        res.sendStatus(200)
        req.sessionLock?.waitUntil(Promise.reject(new Error('the work failed')))
      }) as Handler,
      ((req, res) => {
        req.sessionLock?.fail(new Error('the bot says so'))
        res.sendStatus(200)
      }) as Handler,
    ]) {
      const slow = slowHold()
      slow.commit.pass()
      expect((await post(`${await appWith(handler, slow)}/held`, whatsapp('ada'))).status).toBe(503)
      expect((await slow.hold.settled).status).toBe('failed')
    }
  })

  it('an answer too large to be held is refused at once, and its message fails', async () => {
    const slow = slowHold()
    const go = gate()
    const url = await appWith(async (_req, res) => {
      const chunk = Buffer.alloc(MAX_HELD_BYTES / 4, 'x')
      for (let part = 0; part < 5; part += 1) res.write(chunk)
      await go.passed
      res.end('the end')
    }, slow)
    expect((await post(`${url}/held`, whatsapp('ada'))).status).toBe(503)
    go.pass()
    expect(await slow.hold.settled).toMatchObject({
      status: 'failed',
      error: { message: expect.stringMatching(/larger than/) },
    })
  })
})

function asWeb(response: Writable): WritableStream {
  return new WritableStream({
    write: (chunk) => void response.write(chunk),
    close: () => void response.end(),
  })
}
