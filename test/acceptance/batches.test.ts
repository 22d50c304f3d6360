/** Several messages in one delivery: each once, nobody holds while waiting, no deadlock. */
import { describe, expect, test } from 'vitest'
import { createWorld, deliver, delivery, installations, overlaps, type SentMessage } from './world.ts'

describe.each(installations)('$name', (installation) => {
  test('deliveries that overlap crosswise at the same instant, 1 000 times', { timeout: 240_000 }, async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot(), world.bot()])
    const orders = [
      ['A', 'B'],
      ['B', 'A'],
      ['A', 'C', 'B'],
      ['B', 'C'],
      ['C', 'A'],
    ]
    const ROUNDS = 1000
    const ids: string[] = []
    for (let round = 0; round < ROUNDS; round += 10) {
      await Promise.all(
        Array.from({ length: 10 }, (_, index) => round + index).flatMap((at) => {
          const message = (name: string): SentMessage => ({ id: `wamid.${at}.${name}`, from: `1555${at}${name}` })
          ids.push(...['A', 'B', 'C'].map((name) => `wamid.${at}.${name}`))
          return orders.map((order, index) =>
            deliver(index % 2 ? bots : [...bots].reverse(), delivery(...order.map((name) => [message(name)]))),
          )
        }),
      )
    }
    const started = new Map<string, number>()
    for (const note of world.notes()) {
      if (note.what === 'start') for (const id of note.ids) started.set(id, (started.get(id) ?? 0) + 1)
    }
    expect(ids.filter((id) => started.get(id) !== 1)).toEqual([])
    expect(overlaps(world.notes())).toEqual([])
    expect(await bots[0].ask('sessions')).toEqual([])
    expect(world.notes().filter((note) => note.what === 'unhandledRejection')).toEqual([])
  })

  test('two messages of one person, and messages of three: once each, also when the POST comes twice at once', async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot(), world.bot()])
    const one = delivery([{ id: 'wamid.1' }, { id: 'wamid.2', task: { sleepMs: 200 } }])
    const three = delivery(
      [
        { id: 'wamid.3', from: '1' },
        { id: 'wamid.4', from: '2' },
      ],
      [{ id: 'wamid.5', from: '3' }],
    )
    const answers = await Promise.all([one, three].flatMap((body) => bots.map((bot) => bot.post(body))))
    expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200, 200])
    expect([1, 2, 3, 4, 5].map((id) => world.runs(`wamid.${id}`))).toEqual([1, 1, 1, 1, 1])
  })

  test('a POST that mixes a seen with a new message hands the handler the new one only', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    await bot.post(delivery([{ id: 'wamid.seen' }]))
    const answer = await bot.post(delivery([{ id: 'wamid.seen' }, { id: 'wamid.new' }]))
    expect(answer).toMatchObject({ status: 200, body: '{"handled":["wamid.new"]}' })
    expect([world.runs('wamid.seen'), world.runs('wamid.new')]).toEqual([1, 1])
  })

  test('the same id twice in one POST is handled once', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    const answer = await bot.post(delivery([{ id: 'wamid.same' }, { id: 'wamid.same' }]))
    expect(answer).toMatchObject({ status: 200, body: '{"handled":["wamid.same"]}' })
  })

  test('at the deadline what is free is handled, and the answer makes the rest come again', async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot({ lockWaitMs: 300 }), world.bot({ lockWaitMs: 300 })])
    const long = bots[0].post(delivery([{ id: 'wamid.long', from: '1', task: { sleepMs: 2000 } }]))
    await world.until((notes) => notes.length > 0)
    const mixed = delivery([
      { id: 'wamid.busy', from: '1' },
      { id: 'wamid.free', from: '2' },
    ])
    const refused = await bots[1].post(mixed)
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect([world.runs('wamid.busy'), world.runs('wamid.free')]).toEqual([0, 1])
    await long
    expect(await bots[1].post(mixed)).toMatchObject({ status: 200, body: '{"handled":["wamid.busy"]}' })
    expect([world.runs('wamid.busy'), world.runs('wamid.free')]).toEqual([1, 1])
  })

  test('nobody holds while waiting: a delivery that waits for one session leaves the other to those behind it', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    const long = bot.post(delivery([{ id: 'wamid.long', from: '1', task: { sleepMs: 1500 } }]))
    await world.until((notes) => notes.length > 0)
    const both = bot.post(
      delivery([
        { id: 'wamid.both1', from: '1' },
        { id: 'wamid.both2', from: '2' },
      ]),
    )
    const quick = await bot.post(delivery([{ id: 'wamid.quick', from: '2' }]))
    expect(quick.status).toBe(200)
    expect(world.runs('wamid.both2')).toBe(0)
    expect((await both).status).toBe(200)
    await long
  })
})
