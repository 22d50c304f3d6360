/** Sources that are asked, not listened to. */
import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { queueStores, startInbox } from './world.ts'

/** Rows as another service would have written them: ten share each time. */
const ROWS = Array.from({ length: 500 }, (_, index) => ({ id: `row-${index}`, at: Math.floor(index / 10) }))
const PAGE = 37

/** Asks for rows of a time and later: those of the page's last time come again with the next page. */
async function fetchRows(
  after: string | null,
): Promise<{ messages: Array<{ id: string; prospect: string; payload: unknown }>; next: string | null }> {
  const [at, seen] = after === null ? [0, ''] : (JSON.parse(after) as [number, string])
  const from = ROWS.filter((row) => row.at >= at)
  const page = from.slice(0, Math.max(PAGE, from.findIndex((row) => row.id === seen) + 2))
  const last = page.at(-1)
  const isEnd = last === undefined || last.id === seen
  const messages = page.map((row) => ({ id: row.id, prospect: `p${row.at % 7}`, payload: row }))
  return { messages: isEnd ? [] : messages, next: isEnd ? null : JSON.stringify([last.at, last.id]) }
}

describe.each(queueStores)('$name', ({ options }) => {
  test('two nodes that poll one source store each row once, also when one of them goes away', async () => {
    const store = options()
    const worlds = await Promise.all([startInbox(store), startInbox(store)])
    const asked = [0, 0]
    let inside = 0
    worlds.forEach((world, index) => {
      world.inbox.poll({
        source: 'orders',
        everyMs: 5,
        fetch: async (after) => {
          inside += 1
          expect(inside).toBe(1)
          asked[index] = (asked[index] ?? 0) + 1
          const page = await fetchRows(after)
          await sleep(1)
          inside -= 1
          return page
        },
      })
    })
    const [first, second] = worlds as [(typeof worlds)[0], (typeof worlds)[0]]
    await expect.poll(() => first.calls.length + second.calls.length, { timeout: 20_000 }).toBeGreaterThan(50)
    await first.close()
    await expect.poll(() => first.calls.length + second.calls.length, { timeout: 20_000 }).toBe(ROWS.length)
    const handled = [...first.calls, ...second.calls].flat()
    expect(new Set(handled).size).toBe(ROWS.length)
    await second.untilEmpty()
    await second.close()
  }, 60_000)

  test('a message that no key can be made of is left out, and what comes after it is handled', async () => {
    const lines: string[] = []
    const logger = pino({}, { write: (line) => void lines.push(line) })
    const world = await startInbox(options(), undefined, { lockOptions: { logger } })
    const messages = ['before', 'x'.repeat(600), 'after'].map((id) => ({ id, payload: id }))
    world.inbox.poll({
      source: 'orders',
      everyMs: 5,
      fetch: async (after) => (after === null ? { messages, next: 'end' } : { messages: [], next: null }),
    })
    await expect.poll(() => world.calls.flat().sort()).toEqual(['after', 'before'])
    expect(lines.filter((line) => line.includes('it is left out'))).toHaveLength(1)
    await world.close()
  })
})
