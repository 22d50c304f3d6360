/** The middleware before the real engine, on the memory store; on both Express versions. */
import type { Response as ExpressResponse, Request } from 'express'
import { pino } from 'pino'
import { afterEach, describe, expect, it } from 'vitest'
import { createSessionLock } from '../../src/engine/lock.ts'
import type { SessionLockOptions } from '../../src/engine/options.ts'
import { sessionLock, whatsappHandshake, withSessionLock } from '../../src/http/express.ts'
import { expressVersions, gate, listen, pause, post, postAndLeave, whatsapp } from './bot.ts'

const closers: Array<() => Promise<void>> = []
afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

function newLock(options: SessionLockOptions = {}) {
  const lock = createSessionLock({
    store: 'memory:',
    logger: pino({ enabled: false }),
    closeTimeoutMs: 100,
    ...options,
  })
  closers.push(() => lock.close())
  return lock
}

const outcomeOf = ({ status, headers }: Response) => [status, headers.get('session-lock')]

describe.each(expressVersions)('%s', (_, express) => {
  /** A bot whose handler waits for the gate, and which remembers what it handled. */
  async function botBehindGate(options: SessionLockOptions = {}) {
    const lock = newLock(options)
    const runs: string[][] = []
    const [started, end] = [gate(), gate()]
    const app = express()
    app.use(sessionLock(lock))
    app.post('/', async (req, res) => {
      runs.push((req.sessionLock?.messages ?? []).map(({ id }) => String(id)))
      started.pass()
      await end.passed
      res.sendStatus(200)
    })
    return { url: await listen(app), lock, runs, started, end }
  }

  async function quickBot() {
    const bot = await botBehindGate()
    bot.end.pass()
    return bot
  }

  it('the same message twice at once: one run, the second is told when the first is done', async () => {
    const bot = await botBehindGate()
    const answers = [post(bot.url, whatsapp('ada')), post(bot.url, whatsapp('ada'))]
    await bot.started.passed
    await pause(100)
    bot.end.pass()
    const names = (await Promise.all(answers)).map((answer) => String(outcomeOf(answer)))
    expect(names.sort()).toEqual(['200,', '200,duplicate'])
    expect(bot.runs).toEqual([['wamid.ada']])
  })

  it('the same message while its handler outlasts the wait: 409, later 200', async () => {
    const bot = await botBehindGate({ lockWaitMs: 50 })
    const first = post(bot.url, whatsapp('ada'))
    await bot.started.passed
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([409, 'in-flight'])
    bot.end.pass()
    await first
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, 'duplicate'])
    expect(bot.runs).toHaveLength(1)
  })

  it('a delivery that mixes a seen with a new message hands over the new one', async () => {
    const bot = await quickBot()
    await post(bot.url, whatsapp('ada'))
    expect(outcomeOf(await post(bot.url, whatsapp('ada', 'bob')))).toEqual([200, null])
    expect(bot.runs).toEqual([['wamid.ada'], ['wamid.bob']])
  })

  it('a delivery whose other message is in flight at the deadline: its own is handled, the rest comes again', async () => {
    const bot = await botBehindGate({ lockWaitMs: 50 })
    const first = post(bot.url, whatsapp('ada'))
    await bot.started.passed
    const second = post(bot.url, whatsapp('ada', 'bob'))
    while (bot.runs.length < 2) await pause(5)
    bot.end.pass()
    expect(outcomeOf(await second)).toEqual([409, 'in-flight'])
    await first
    expect(outcomeOf(await post(bot.url, whatsapp('ada', 'bob')))).toEqual([200, 'duplicate'])
    expect(bot.runs).toEqual([['wamid.ada'], ['wamid.bob']])
  })

  it('the client gone while waiting: the message is handled all the same', async () => {
    const bot = await botBehindGate()
    const other = JSON.stringify(whatsapp('ada')).replace('wamid.ada', 'wamid.ada2')
    const first = post(bot.url, whatsapp('ada'))
    await bot.started.passed
    await postAndLeave(bot.url, JSON.parse(other), pause(200))
    expect(bot.runs).toHaveLength(1)
    bot.end.pass()
    await first
    while (bot.runs.length < 2) await pause(5)
    expect(bot.runs).toEqual([['wamid.ada'], ['wamid.ada2']])
    expect(outcomeOf(await post(bot.url, JSON.parse(other)))).toEqual([200, 'duplicate'])
  })

  it('ids of wrong type or size: 400; at 512 bytes: handled', async () => {
    const bot = await quickBot()
    const withId = (id: unknown) => JSON.stringify(whatsapp('ada')).replace('"wamid.ada"', JSON.stringify(id))
    for (const id of [17, { a: 1 }, ['x'], true, 'x'.repeat(513), 'Ä'.repeat(300), 'x'.repeat(10_000)]) {
      expect(outcomeOf(await post(bot.url, withId(id)))).toEqual([400, 'invalid-key'])
    }
    for (const id of ['x'.repeat(512), 'Ä'.repeat(256), 'a\0b', '\ud800', '🤖', 'a', 'a ', 'A', 'Ä']) {
      expect(outcomeOf(await post(bot.url, withId(id)))).toEqual([200, null])
    }
  })

  it('mounted twice, claimed once; a wrapped handler behind a mount still counts', async () => {
    const lock = newLock()
    const app = express()
    app.use(sessionLock(lock), sessionLock(lock))
    let ended = false
    app.post(
      '/',
      // The types of both are Express's own, without a word.
      withSessionLock(lock, async (_req, res) => {
        res.sendStatus(200)
        await pause(100)
        ended = true
      }),
    )
    const url = await listen(app)
    expect(outcomeOf(await post(url, whatsapp('ada')))).toEqual([200, null])
    expect(outcomeOf(await post(url, whatsapp('ada')))).toEqual([200, 'duplicate'])
    expect(ended).toBe(true)
  })

  it('claimed in an app that is mounted in another: the outer one sees it too, and claims nothing twice', async () => {
    const lock = newLock()
    const [inner, outer] = [express(), express()]
    inner.use(sessionLock(lock))
    outer.use(inner)
    outer.use(sessionLock(lock))
    outer.post('/', (req, res) => void res.status(201).json(req.sessionLock?.leases.map(({ name }) => name)))
    const url = await listen(outer)
    const answer = await post(url, whatsapp('ada'))
    expect([answer.status, await answer.json()]).toEqual([201, ['ada · 1000']])
    expect(outcomeOf(await post(url, whatsapp('ada')))).toEqual([200, 'duplicate'])
  })

  it('two routes on one lock exclude each other', async () => {
    const lock = newLock()
    const app = express()
    const handler = (_req: Request, res: ExpressResponse) => res.sendStatus(200)
    app.post('/one', sessionLock(lock), handler)
    app.post('/two', withSessionLock(lock, handler))
    const url = await listen(app)
    expect(outcomeOf(await post(`${url}/one`, whatsapp('ada')))).toEqual([200, null])
    expect(outcomeOf(await post(`${url}/two`, whatsapp('ada')))).toEqual([200, 'duplicate'])
  })

  it('a wrapped handler sees what is no delivery, without a lock', async () => {
    const app = express()
    app.all(
      '/',
      withSessionLock(newLock(), (req, res) => res.json({ locked: !!req.sessionLock })),
    )
    const url = await listen(app)
    expect(await (await fetch(url)).json()).toEqual({ locked: false })
    expect(await (await post(url, { hello: 'world' })).json()).toEqual({ locked: false })
  })

  it('the key of the user’s own comes first, and leaves the rest to the providers', async () => {
    const lock = newLock({ key: { messageId: 'data.id', prospect: 'data.from' } })
    const app = express()
    app.post('/', sessionLock(lock), (req, res) => res.json(req.sessionLock?.provider))
    const url = await listen(app)
    const answers = [
      await post(url, { data: { id: 'a' } }),
      await post(url, whatsapp('ada')),
      await post(url, { id: 'a' }),
    ]
    const texts = await Promise.all(answers.map((answer) => answer.text()))
    expect(texts.slice(0, 2)).toEqual(['"generic"', '"whatsapp-cloud"'])
    expect(outcomeOf(await post(url, { data: { id: 'a' } }))).toEqual([200, 'duplicate'])
    expect(outcomeOf(await post(url, { data: { id: 17 } }))).toEqual([400, 'invalid-key'])
  })

  it('req.sessionLock tells what is held', async () => {
    const app = express()
    let seen: Request['sessionLock']
    app.post('/', sessionLock(newLock()), (req, res) => {
      seen = req.sessionLock
      res.sendStatus(200)
    })
    await post(await listen(app), whatsapp('ada'))
    expect(seen).toMatchObject({
      provider: 'whatsapp-cloud',
      messages: [{ id: 'wamid.ada', prospect: 'ada', device: '1000', kind: 'message' }],
      duplicates: [],
      leases: [{ prospect: 'ada', device: '1000', messageIds: ['wamid.ada'], takeover: false }],
      fencingToken: expect.any(Number),
    })
    expect(seen?.signal.aborted).toBe(false)
    expect(seen?.fencingToken).toBeGreaterThan(0)
  })

  it('a handler that claims its own session again is told so, and does not wait for itself', async () => {
    const lock = newLock()
    const app = express()
    app.post('/', sessionLock(lock), (_req, res) => {
      const again = lock.run({ prospect: 'ada', device: '1000' }, () => undefined)
      again.then(undefined, (error: { code: string }) => res.status(200).send(error.code))
    })
    expect(await (await post(await listen(app), whatsapp('ada'))).text()).toBe('REENTRY')
  })

  it('a closed lock: 503', async () => {
    const bot = await quickBot()
    await bot.lock.close()
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([503, 'closing'])
  })

  it('whatsappHandshake echoes the challenge as plain text, else 403, and lets POSTs by', async () => {
    const app = express()
    app.use('/webhook', whatsappHandshake('token'), (_req, res) => res.sendStatus(204))
    const url = `${await listen(app)}/webhook`
    const ask = (token: string, challenge: string) =>
      fetch(`${url}?hub.mode=subscribe&hub.verify_token=${token}&hub.challenge=${encodeURIComponent(challenge)}`)
    const right = await ask('token', '<b>1158</b>')
    expect([right.status, await right.text()]).toEqual([200, '<b>1158</b>'])
    expect(right.headers.get('content-type')).toMatch('text/plain')
    expect((await ask('wrong', '1158')).status).toBe(403)
    expect((await fetch(url)).status).toBe(403)
    expect((await post(url, {})).status).toBe(204)
  })
})

describe('sessionLock()', () => {
  it('without arguments shares one lock; with options makes one of its own', async () => {
    const logger = pino({ enabled: false })
    const own = sessionLock({ store: 'memory:', logger })
    expect(sessionLock().lock).toBe(sessionLock().lock)
    expect(own.lock).not.toBe(sessionLock().lock)
    closers.push(
      () => own.lock.close(),
      () => sessionLock().lock.close(),
    )
  })

  it.each<[string, SessionLockOptions]>([
    ['provider', { provider: 'whatsap-cloud' }],
    ['secret', { secret: { whatsapp: 'x' } }],
    ['secret', { secret: 'x', key: { messageId: 'id' } }],
    ['key', { key: { message: 'id' } as never }],
    ['key', { key: { messageId: 7 } as never }],
    ['key', { key: { device: 'instance' } }],
  ])('refuses a %s that cannot work: %j', (option, options) => {
    const attempt = () => sessionLock({ store: 'memory:', logger: false, cleanupEveryMs: 0, ...options })
    expect(attempt).toThrow(`option "${option}"`)
  })

  it('refuses an empty verify token', () => {
    expect(() => whatsappHandshake('')).toThrow('verifyToken')
    expect(() => whatsappHandshake(undefined)).toThrow('verifyToken')
  })
})
