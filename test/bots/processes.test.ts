/** Real bots in two processes over one SQLite file: what every framework's middleware promises. */
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { boltAnswersFirst, createWorld, type Framework, frameworks } from './world.ts'

/** Long enough for a bot that does not wait to have started. */
const A_WHILE_MS = 400

async function twoBots(framework: Framework, lock?: Record<string, unknown>) {
  const world = await createWorld(framework, lock)
  const [one, two] = await Promise.all([world.bot(), world.bot()])
  return { world, one, two }
}

describe.each(frameworks)('$name', (framework) => {
  test('the same update at the same instant in two processes is acted on once', async () => {
    const { world, one, two } = await twoBots(framework)
    const ids = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    const twice = ids.flatMap((id) => [one, two].map((bot) => bot.deliver({ id, chat: 100 + id })))
    expect(await Promise.all(twice)).toEqual(twice.map(() => 200))
    expect(
      world
        .notes()
        .filter((note) => note.startsWith('start'))
        .sort(),
    ).toEqual(ids.map((id) => `start ${id}`).sort())
    expect(await one.deliver({ id: 1, chat: 101 })).toBe(200)
    expect(world.notes()).toHaveLength(2 * ids.length)
  })

  test('two updates of one chat never overlap; of two chats they do', async () => {
    const { world, one, two } = await twoBots(framework, { lockWaitMs: 10_000 })
    const first = one.deliver({ id: 1, chat: 7, text: 'hold' })
    await world.until('start 1')
    const second = two.deliver({ id: 2, chat: 7 })
    expect(await two.deliver({ id: 3, chat: 8 })).toBe(200)
    await sleep(A_WHILE_MS)
    expect(world.notes()).toEqual(['start 1', 'start 3', 'end 3'])
    one.open()
    expect(await Promise.all([first, second])).toEqual([200, 200])
    expect(world.notes().slice(3)).toEqual(['end 1', 'start 2', 'end 2'])
  })

  test('one that is busy, or in flight elsewhere, is answered so that it comes again', async () => {
    const { world, one, two } = await twoBots(framework, { lockWaitMs: 50 })
    const first = one.deliver({ id: 1, chat: 7, text: 'hold' })
    await world.until('start 1')
    expect(await two.deliver({ id: 1, chat: 7, text: 'hold' })).toBeGreaterThanOrEqual(400)
    expect(await two.deliver({ id: 2, chat: 7 })).toBeGreaterThanOrEqual(400)
    expect(world.notes()).toEqual(['start 1'])
    one.open()
    expect(await first).toBe(200)
    expect(await two.deliver({ id: 2, chat: 7 })).toBe(200)
    expect(await two.deliver({ id: 1, chat: 7, text: 'hold' })).toBe(200)
    expect(world.notes()).toEqual(['start 1', 'end 1', 'start 2', 'end 2'])
  })

  test('an update whose handler throws is answered so that it comes again, and is handled then', async () => {
    const { world, one, two } = await twoBots(framework)
    expect(await one.deliver({ id: 1, chat: 7, text: 'throw' })).toBeGreaterThanOrEqual(500)
    expect(await two.deliver({ id: 1, chat: 7 })).toBe(200)
    expect(world.notes()).toEqual(['start 1', 'end 1', 'start 1', 'end 1'])
  })

  test('what a killed process had in hand is handled by the other', async () => {
    const { world, one, two } = await twoBots(framework, { staleAfterMs: 500 })
    const lost = one.deliver({ id: 1, chat: 7, text: 'hold' })
    await world.until('start 1')
    one.kill()
    await expect(lost).rejects.toThrow()
    expect(await two.deliver({ id: 1, chat: 7 })).toBe(200)
    expect(world.notes()).toEqual(['start 1', 'start 1', 'end 1'])
  })
})

describe('Bolt where it answers first', () => {
  test('an event that Slack will not deliver again waits for its turn beyond lockWaitMs', async () => {
    const { world, one, two } = await twoBots(boltAnswersFirst, { lockWaitMs: 50 })
    expect(await one.deliver({ id: 1, chat: 7, text: 'hold' })).toBe(200)
    await world.until('start 1')
    expect(await two.deliver({ id: 2, chat: 7 })).toBe(200)
    expect(await two.deliver({ id: 1, chat: 7 })).toBe(200)
    await sleep(A_WHILE_MS)
    expect(world.notes()).toEqual(['start 1'])
    one.open()
    await world.until('end 2')
    await sleep(A_WHILE_MS)
    expect(world.notes()).toEqual(['start 1', 'end 1', 'start 2', 'end 2'])
  })

  test('a command, which waits for its answer, is answered within three seconds, and a duplicate with nothing', async () => {
    const { world, one, two } = await twoBots(boltAnswersFirst, { lockWaitMs: 60_000 })
    const command = (trigger: number, text: string) =>
      new URLSearchParams({
        command: '/order',
        text,
        trigger_id: `${trigger}`,
        team_id: 'T1',
        channel_id: 'D7',
        user_id: 'U7',
      }).toString()
    const form = 'application/x-www-form-urlencoded'
    expect(await (await one.post(command(1, 'hi'), form)).text()).toBe('ordered')
    const again = await two.post(command(1, 'hi'), form)
    expect([again.status, await again.text()]).toEqual([200, ''])
    await one.deliver({ id: 2, chat: 7, text: 'hold' })
    await world.until('start 2')
    const from = performance.now()
    expect((await two.post(command(3, 'hi'), form)).status).toBeGreaterThanOrEqual(500)
    expect(performance.now() - from).toBeLessThan(3000)
    one.open()
    await world.until('end 2')
    expect(world.notes()).toEqual(['start 1', 'end 1', 'start 2', 'end 2'])
  })
})
