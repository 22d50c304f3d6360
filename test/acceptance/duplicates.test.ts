/** G2–G5: what becomes of duplicates, and of different messages of one session. */
import { describe, expect, test } from 'vitest'
import { createWorld, deliver, delivery, installations, overlaps, statusDelivery } from './world.ts'

describe.each(installations)('$name', (installation) => {
  test('100 messages, 20 simultaneous deliveries of each, two processes: 100 runs', { timeout: 120_000 }, async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot(), world.bot()])
    const ids = Array.from({ length: 100 }, (_, index) => `wamid.${index}`)
    await Promise.all(
      ids.flatMap((id, index) =>
        Array.from({ length: 20 }, (_, copy) => {
          const body = delivery([{ id, from: `1555${index}`, task: { sleepMs: 20 } }])
          return deliver(copy % 2 === 0 ? bots : [...bots].reverse(), body)
        }),
      ),
    )
    expect(ids.map((id) => world.runs(id))).toEqual(ids.map(() => 1))
    expect(await bots[0].ask('sessions')).toEqual([])
    expect(world.notes().filter((note) => note.what === 'unhandledRejection')).toEqual([])
  })

  test.each(['/webhook', '/wrapped', '/bare'])(
    'a duplicate waits for a handler of 500 ms: 200, marked, empty (%s)',
    async (path) => {
      const world = await createWorld(installation)
      const bot = await world.bot()
      const body = delivery([{ id: 'wamid.twice', task: { sleepMs: 500 } }])
      const [first, second] = await Promise.all([bot.post(body, { path }), bot.post(body, { path })])
      const [handled, duplicate] = first.headers.has('session-lock') ? [second, first] : [first, second]
      expect(handled).toMatchObject({ status: 200, body: '{"handled":["wamid.twice"]}' })
      expect(duplicate).toMatchObject({ status: 200, body: '' })
      expect(duplicate.headers.get('session-lock')).toBe('duplicate')
      expect(duplicate.tookMs).toBeGreaterThan(300)
      expect(world.runs('wamid.twice')).toBe(1)
    },
  )

  test('a duplicate of a handler of 5 s is not acknowledged: 409 with Retry-After, after lockWaitMs', async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot({ lockWaitMs: 2000 }), world.bot({ lockWaitMs: 2000 })])
    const body = delivery([{ id: 'wamid.slow', task: { sleepMs: 5000 } }])
    const first = bots[0].post(body)
    await world.until((notes) => notes.length > 0)
    const refused = await Promise.all(bots.map((bot) => bot.post(body)))
    for (const answer of refused) {
      expect(answer.status).toBe(409)
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      expect(answer.headers.get('session-lock')).toBe('in-flight')
      expect(answer.tookMs).toBeGreaterThan(1900)
      expect(answer.tookMs).toBeLessThan(4000)
    }
    expect((await first).status).toBe(200)
    expect((await bots[1].post(body)).headers.get('session-lock')).toBe('duplicate')
    expect(world.runs('wamid.slow')).toBe(1)
  })

  test('a different message of the session is handled after the first, not beside it, not refused', async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot(), world.bot()])
    const first = bots[0].post(delivery([{ id: 'wamid.one', task: { sleepMs: 500 } }]))
    await world.until((notes) => notes.length > 0)
    const others = await Promise.all([
      bots[0].post(delivery([{ id: 'wamid.two' }])),
      bots[1].post(delivery([{ id: 'wamid.three' }])),
      first,
    ])
    expect(others.map((answer) => answer.status)).toEqual([200, 200, 200])
    expect(['wamid.one', 'wamid.two', 'wamid.three'].map((id) => world.runs(id))).toEqual([1, 1, 1])
    expect(overlaps(world.notes())).toEqual([])
  })

  test('a session that stays busy: 503 with Retry-After, and the redelivery is handled', async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot({ lockWaitMs: 500 }), world.bot({ lockWaitMs: 500 })])
    const first = bots[0].post(delivery([{ id: 'wamid.long', task: { sleepMs: 2500 } }]))
    await world.until((notes) => notes.length > 0)
    const next = delivery([{ id: 'wamid.next' }])
    for (const answer of await Promise.all(bots.map((bot) => bot.post(next)))) {
      expect(answer.status).toBe(503)
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      expect(answer.headers.get('session-lock')).toBe('busy')
    }
    await first
    expect((await bots[1].post(next)).status).toBe(200)
    expect(world.runs('wamid.next')).toBe(1)
    expect(overlaps(world.notes())).toEqual([])
  })

  test.each(['/webhook', '/wrapped'])('a failed handler does not swallow its message (%s)', async (path) => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    const outcomes = {
      throw: { throw: true },
      500: { status: 500 },
      401: { status: 401 },
      404: { status: 404 },
      429: { status: 429 },
    }
    for (const [name, task] of Object.entries(outcomes)) {
      const body = delivery([{ id: `wamid.${name}`, task }])
      expect((await bot.post(body, { path })).status).toBe(name === 'throw' ? 500 : Number(name))
      await bot.post(body, { path })
      expect([name, world.runs(`wamid.${name}`)]).toEqual([name, 2])
    }
    for (const status of [200, 302, 400, 410, 422]) {
      const body = delivery([{ id: `wamid.${status}`, task: { status } }])
      expect((await bot.post(body, { path })).status).toBe(status)
      expect((await bot.post(body, { path })).headers.get('session-lock')).toBe('duplicate')
      expect([status, world.runs(`wamid.${status}`)]).toEqual([status, 1])
    }
  })

  test('the client is gone after 100 ms, the handler ends at 1 s, the redelivery at 200 ms waits: one run', async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot(), world.bot()])
    const body = delivery([{ id: 'wamid.gone', task: { sleepMs: 1000 } }])
    const gone = bots[0].post(body, { signal: AbortSignal.timeout(100) })
    await expect(gone).rejects.toThrow()
    await new Promise((resolve) => setTimeout(resolve, 100))
    for (const answer of await Promise.all(bots.map((bot) => bot.post(body)))) {
      expect(answer.status).toBe(200)
      expect(answer.headers.get('session-lock')).toBe('duplicate')
    }
    expect(world.runs('wamid.gone')).toBe(1)
  })

  test('sent, delivered and read of one message are three; the same one twice is one', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    for (const status of ['sent', 'delivered', 'read', 'delivered']) await bot.post(statusDelivery('wamid.out', status))
    expect(['sent', 'delivered', 'read'].map((status) => world.runs(`wamid.out:${status}`))).toEqual([1, 1, 1])
  })
})
