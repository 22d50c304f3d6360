/** What every framework is to do alike, through real HTTP and the real engine on the memory store. */
import { createHmac } from 'node:crypto'
import { Readable } from 'node:stream'
import { expect, it } from 'vitest'
import { createSessionLock } from '../../src/engine/lock.ts'
import type { SessionLockOptions } from '../../src/engine/options.ts'
import { StoreError } from '../../src/store/store.ts'
import { endless, gate, lockThat, pause, post, postAndLeave, whatsapp } from './bot.ts'
import { type Bot, type Framework, type Reply, type Seen, silent } from './frameworks.ts'

const outcomeOf = ({ status, headers }: Response) => [status, headers.get('session-lock')]

/** A second message of the same person. */
const ADA2 = JSON.stringify(whatsapp('ada')).replace('wamid.ada', 'wamid.ada2')

/** Registers the suite for one framework; `afterTest` is given what is to be closed. */
export function testBehaviour(framework: Framework, afterTest: (close: () => Promise<void>) => void): void {
  /** A bot that remembers what it handled, and answers as told. */
  async function botThat(
    answer: (seen: Seen, run: number) => Promise<Reply> | Reply,
    options: SessionLockOptions = {},
  ) {
    const lock = createSessionLock({ store: 'memory:', logger: silent, closeTimeoutMs: 100, ...options })
    afterTest(() => lock.close())
    const runs: unknown[][] = []
    const bodies: unknown[] = []
    const bot: Bot = async (seen) => {
      runs.push((seen.lock?.messages ?? []).map(({ id }) => id))
      bodies.push(seen.body)
      return answer(seen, runs.length)
    }
    return { url: await framework.start(lock, bot), lock, runs, bodies }
  }

  /** One whose handler waits for a gate. */
  async function botBehindGate(options: SessionLockOptions = {}) {
    const [started, end] = [gate(), gate()]
    const bot = await botThat(async () => {
      started.pass()
      await end.passed
      return { status: 200, body: 'done' }
    }, options)
    return { ...bot, started, end }
  }

  const ok = (): Reply => ({ status: 200, body: 'ok' })

  it('acquired: the handler’s own answer', async () => {
    const bot = await botThat(() => ({ status: 201, body: 'hello' }))
    const response = await post(bot.url, whatsapp('ada'))
    expect(outcomeOf(response)).toEqual([201, null])
    expect(await response.text()).toBe('hello')
    expect(bot.runs).toEqual([['wamid.ada']])
    expect(bot.bodies).toEqual([whatsapp('ada')])
  })

  it('a duplicate waits for the first, then: 200, empty', async () => {
    const bot = await botBehindGate()
    const first = post(bot.url, whatsapp('ada'))
    await bot.started.passed
    const second = post(bot.url, whatsapp('ada'))
    await pause(50)
    bot.end.pass()
    expect(await (await first).text()).toBe('done')
    const response = await second
    expect(outcomeOf(response)).toEqual([200, 'duplicate'])
    expect([response.headers.get('content-type'), await response.text()]).toEqual([null, ''])
    expect(bot.runs).toHaveLength(1)
  })

  it('another message of the session: 503; the same one in flight: 409', async () => {
    const bot = await botBehindGate({ lockWaitMs: 30 })
    const first = post(bot.url, whatsapp('ada'))
    await bot.started.passed
    const busy = await post(bot.url, ADA2)
    expect(outcomeOf(busy)).toEqual([503, 'busy'])
    expect(Number(busy.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect(await busy.json()).toMatchObject({ status: 503, title: 'Session busy' })
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([409, 'in-flight'])
    bot.end.pass()
    await first
    expect(outcomeOf(await post(bot.url, ADA2))).toEqual([200, null])
  })

  it.each<[string, () => Reply]>([
    ['throws', () => Promise.reject(new Error('no luck')) as never],
    ['answers 500', () => ({ status: 500 })],
    ['answers 401', () => ({ status: 401 })],
  ])('a handler that %s: the redelivery is handled', async (_, fail) => {
    const bot = await botThat((__, run) => (run === 1 ? fail() : ok()))
    expect((await post(bot.url, whatsapp('ada'))).status).toBeGreaterThanOrEqual(400)
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, null])
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, 'duplicate'])
    expect(bot.runs).toHaveLength(2)
  })

  it('the client goes while the handler runs: one run, and the redelivery waits for it', async () => {
    const bot = await botBehindGate()
    await postAndLeave(bot.url, whatsapp('ada'), bot.started.passed)
    await pause(50)
    const again = post(bot.url, whatsapp('ada'))
    await pause(50)
    bot.end.pass()
    expect(outcomeOf(await again)).toEqual([200, 'duplicate'])
    expect(bot.runs).toHaveLength(1)
  })

  it('the client goes, and the handler fails: the redelivery is handled', async () => {
    const [started, end] = [gate(), gate()]
    const bot = await botThat(async (_, run) => {
      if (run > 1) return ok()
      started.pass()
      await end.passed
      throw new Error('no luck')
    })
    await postAndLeave(bot.url, whatsapp('ada'), started.passed)
    await pause(50)
    end.pass()
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, null])
  })

  it('a streamed answer completes at its end, not before', async () => {
    const end = gate()
    async function* words() {
      yield 'a'
      await end.passed
      yield 'b'
    }
    const bot = await botThat(() => ({ status: 200, body: Readable.from(words()) }), { lockWaitMs: 30 })
    const first = post(bot.url, whatsapp('ada'))
    while (bot.runs.length === 0) await pause(5)
    await pause(50)
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([409, 'in-flight'])
    end.pass()
    expect(await (await first).text()).toBe('ab')
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, 'duplicate'])
  })

  it('the client goes in the middle of a streamed answer: failed, so the redelivery is handled', async () => {
    const reply = (run: number): Reply => ({ status: 200, body: run === 1 ? endless() : 'ok' })
    const bot = await botThat((_, run) => reply(run), { staleAfterMs: 200 })
    await postAndLeave(bot.url, whatsapp('ada'), 'first bytes')
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, null])
    expect(bot.runs).toHaveLength(2)
  })

  it('waitUntil: completed when the work is done; failed when it fails', async () => {
    const work = gate()
    const bot = await botThat(
      ({ lock }, run) => {
        lock?.waitUntil(run === 1 ? work.passed.then(() => Promise.reject(new Error('no luck'))) : Promise.resolve())
        return ok()
      },
      { lockWaitMs: 30 },
    )
    expect((await post(bot.url, whatsapp('ada'))).status).toBe(200)
    await pause(50)
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([409, 'in-flight'])
    work.pass()
    await pause(20)
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, null])
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, 'duplicate'])
  })

  it('fail(error): the redelivery is handled, whatever was answered', async () => {
    const bot = await botThat(({ lock }, run) => {
      if (run === 1) lock?.fail(new Error('no luck'))
      return ok()
    })
    expect((await post(bot.url, whatsapp('ada'))).status).toBe(200)
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([200, null])
  })

  it('a delivery that mixes seen with new: the body holds the new', async () => {
    const bot = await botThat(ok)
    await post(bot.url, whatsapp('ada'))
    expect(outcomeOf(await post(bot.url, whatsapp('ada', 'bob')))).toEqual([200, null])
    expect(bot.runs).toEqual([['wamid.ada'], ['wamid.bob']])
    expect(JSON.stringify(bot.bodies[1])).not.toContain('wamid.ada')
    expect(JSON.stringify(bot.bodies[1])).toContain('wamid.bob')
  })

  it.each<[string, Reply]>([
    ['text', ok()],
    ['nothing', { status: 204 }],
  ])('part of a delivery in flight at the deadline, the handler answers %s: the answer is forced', async (_, reply) => {
    const [started, end] = [gate(), gate()]
    const answer = async (__: Seen, run: number) => {
      if (run > 1) return reply
      started.pass()
      await end.passed
      return ok()
    }
    const bot = await botThat(answer, { lockWaitMs: 30 })
    const first = post(bot.url, whatsapp('ada'))
    await started.passed
    const forced = await post(bot.url, whatsapp('ada', 'bob'))
    expect(outcomeOf(forced)).toEqual([409, 'in-flight'])
    expect(forced.headers.get('content-type')).toBe('application/problem+json')
    expect(await forced.json()).toMatchObject({ status: 409 })
    end.pass()
    await first
    expect(outcomeOf(await post(bot.url, whatsapp('ada', 'bob')))).toEqual([200, 'duplicate'])
    expect(bot.runs).toEqual([['wamid.ada'], ['wamid.bob']])
  })

  it('… forced also where the answer is streamed, and where the handler throws', async () => {
    const [started, end] = [gate(), gate()]
    const bot = await botThat(
      async (_, run) => {
        if (run === 2) return { status: 200, body: Readable.from(['a', 'b']) }
        if (run === 3) throw new Error('no luck')
        started.pass()
        await end.passed
        return ok()
      },
      { lockWaitMs: 30 },
    )
    const first = post(bot.url, whatsapp('ada'))
    await started.passed
    expect(outcomeOf(await post(bot.url, whatsapp('ada', 'bob')))).toEqual([409, 'in-flight'])
    expect(outcomeOf(await post(bot.url, whatsapp('ada', 'cyd')))).toEqual([409, 'in-flight'])
    end.pass()
    await first
    expect(outcomeOf(await post(bot.url, whatsapp('bob')))).toEqual([200, 'duplicate'])
    expect(outcomeOf(await post(bot.url, whatsapp('cyd')))).toEqual([200, null])
  })

  it.each<[string, Reply]>([
    ['text', { status: 201, body: '<Response>héllo</Response>', type: 'text/xml' }],
    ['bytes', { status: 200, body: Buffer.from([0, 255, 10, 128]), type: 'application/octet-stream' }],
    ['an empty body', { status: 200, body: '' }],
  ])('replay: the duplicate is given %s again', async (_, reply) => {
    const bot = await botThat(() => reply, { replay: true })
    const [first, again] = [await post(bot.url, whatsapp('ada')), await post(bot.url, whatsapp('ada'))]
    expect(outcomeOf(again)).toEqual([first.status, 'duplicate'])
    expect(again.headers.get('idempotency-replayed')).toBe('true')
    expect(again.headers.get('content-type')).toBe(first.headers.get('content-type'))
    expect(Buffer.from(await again.arrayBuffer())).toEqual(Buffer.from(await first.arrayBuffer()))
    expect(bot.runs).toHaveLength(1)
  })

  it('the store down: 503', async () => {
    const { lock } = lockThat(new StoreError('unreachable', 'connect ECONNREFUSED'))
    const response = await post(await framework.start(lock, () => Promise.reject(new Error('ran'))), whatsapp('ada'))
    expect(outcomeOf(response)).toEqual([503, 'store-unavailable'])
    expect(await response.text()).not.toContain('ECONNREFUSED')
  })

  it('closing: 503', async () => {
    const bot = await botThat(ok)
    await bot.lock.close()
    expect(outcomeOf(await post(bot.url, whatsapp('ada')))).toEqual([503, 'closing'])
    expect(bot.runs).toEqual([])
  })

  it('what is no delivery is untouched', async () => {
    const bot = await botThat(({ lock }) => ({ status: 200, body: String(lock) }))
    expect(await (await post(bot.url, { hello: 'world' })).text()).toBe('undefined')
    expect(bot.bodies).toEqual([{ hello: 'world' }])
    expect(await (await fetch(bot.url)).text()).toBe('undefined')
  })

  it('broken JSON: 400, and no run', async () => {
    const bot = await botThat(ok)
    const response = await post(bot.url, '{"secret": "4711')
    expect(response.status).toBe(400)
    expect(await response.text()).not.toContain('4711')
    expect(bot.runs).toEqual([])
  })

  it('a forged signature: 401, and no run; a right one: handled', async () => {
    const bot = await botThat(ok, { secret: 'app secret' })
    const text = JSON.stringify(whatsapp('ada')).replaceAll(':', ' : ')
    const sign = (secret: string) => ({
      'x-hub-signature-256': `sha256=${createHmac('sha256', secret).update(text).digest('hex')}`,
    })
    expect(outcomeOf(await post(bot.url, text))).toEqual([401, 'invalid-signature'])
    expect(outcomeOf(await post(bot.url, text, sign('other')))).toEqual([401, 'invalid-signature'])
    expect(bot.runs).toEqual([])
    expect(outcomeOf(await post(bot.url, text, sign('app secret')))).toEqual([200, null])
  })

  it('forms are read', async () => {
    const bot = await botThat(ok, { key: { messageId: 'Id' } })
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    expect(outcomeOf(await post(bot.url, 'Id=SM1&Text=a+b', headers))).toEqual([200, null])
    expect(outcomeOf(await post(bot.url, 'Id=SM1&Text=a+b', headers))).toEqual([200, 'duplicate'])
    expect(bot.bodies).toMatchObject([{ Id: 'SM1', Text: 'a b' }])
  })

  it('a handler that claims its own session again is told so', async () => {
    const bot = await botThat(async () => {
      const again = bot.lock.run({ prospect: 'ada', device: '1000' }, () => undefined)
      return { status: 200, body: await again.then(String, (error: { code: string }) => error.code) }
    })
    expect(await (await post(bot.url, whatsapp('ada'))).text()).toBe('REENTRY')
  })
}
