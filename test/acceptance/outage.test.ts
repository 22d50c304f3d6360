/** The database stops in the middle of traffic, and comes back. */
import { expect, test } from 'vitest'
import { startMariadb } from '../servers/mariadb.ts'
import { createWorld, deliver, delivery, installations, overlaps } from './world.ts'

test('while the database is down: 503s, no hang; afterwards normal service without a restart', {
  timeout: 120_000,
}, async () => {
  const database = await startMariadb()
  try {
    const world = await createWorld({ ...installations[0], store: () => database.url } as (typeof installations)[0])
    const bots = await Promise.all([world.bot({ staleAfterMs: 3000 }), world.bot({ staleAfterMs: 3000 })])
    let sent = 0
    let sending = true
    const longest: number[] = []
    const statuses = new Set<number>()
    const senders = Array.from({ length: 16 }, async (_, sender) => {
      while (sending) {
        sent += 1
        const body = delivery([{ id: `wamid.${sent}`, from: `1555${sender}`, task: { sleepMs: 5 } }])
        for (;;) {
          const answer = await bots[sent % 2]?.post(body)
          if (!answer) throw new Error('no bot')
          longest.push(answer.tookMs)
          statuses.add(answer.status)
          if (answer.status < 300) break
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
      }
    })
    await world.until((notes) => notes.length > 200)
    await database.kill('SIGKILL')
    const downFrom = world.notes().length
    const refused = await Promise.all(bots.map((bot) => bot.post(delivery([{ id: 'wamid.down', from: 'down' }]))))
    expect(refused.map((answer) => answer.status)).toEqual([503, 503])
    expect(refused[0]?.headers.get('session-lock')).toBe('store-unavailable')
    expect(Number(refused[0]?.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    await database.restart()
    await world.until((notes) => notes.length > downFrom + 200)
    sending = false
    await Promise.all(senders)
    await deliver(bots, delivery([{ id: 'wamid.down', from: 'down' }]))
    const notes = world.notes()
    const ran = new Map<string, number>()
    for (const note of notes)
      if (note.what === 'start') ran.set(note.ids[0] as string, (ran.get(note.ids[0] as string) ?? 0) + 1)
    const lost = Array.from({ length: sent }, (_, index) => `wamid.${index + 1}`).filter((id) => !ran.has(id))
    expect(lost).toEqual([])
    // Only a handler that ran while the database was down may run again: one a sender at the most, and each is in the log.
    expect([...ran.values()].filter((times) => times > 1).length).toBeLessThanOrEqual(16)
    expect([...statuses].every((status) => [200, 409, 503].includes(status))).toBe(true)
    expect(Math.max(...longest)).toBeLessThan(10_000)
    expect(notes.filter((note) => note.what === 'unhandledRejection')).toEqual([])
    expect(overlaps(notes)).toEqual([])
    expect(bots.map((bot) => bot.process.lines.length)).toEqual([1, 1])
  } finally {
    await database.stop()
  }
})
