/** A source that is polled by nodes which are killed again and again: each row once, none skipped. */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { seededRandom } from '../../src/testing/waiting.ts'
import { startDyingNodes } from '../processes/dying-nodes.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { queueStores } from './world.ts'

const ROWS = Number(process.env['POLLED_ROWS'] ?? 5000)
const PAGE = 37
/** So that the last time of a page is also the first of the next one. */
const ROWS_OF_ONE_TIME = 10

const ROW_LIST = Array.from({ length: ROWS }, (_, index) => ({
  id: `row-${String(index).padStart(6, '0')}`,
  at: Math.floor(index / ROWS_OF_ONE_TIME),
}))

/** As one asks a table by time: the rows of the last time come again, and a page has at least one row that is new. */
function pageAfter(after: string): { messages: unknown[]; next: string | null } {
  const [at, seen] = after === '' ? [0, ''] : (JSON.parse(after) as [number, string])
  const from = ROW_LIST.slice(at * ROWS_OF_ONE_TIME)
  const page = from.slice(0, Math.max(PAGE, from.findIndex((row) => row.id === seen) + 2))
  const last = page.at(-1)
  if (!last || last.id === seen) return { messages: [], next: null }
  const messages = page.map((row) => ({ id: row.id, prospect: `p${row.at % 50}`, payload: row }))
  return { messages, next: JSON.stringify([last.at, last.id]) }
}

test.each(queueStores)(
  '$name: of a source polled by two nodes, one of which is killed every 300 ms, each row is stored once',
  async ({ options }) => {
    const store = options()
    const journal = join(makeTemporaryDirectory('journal'), 'handled.jsonl')
    const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
    const source = createServer((request, response) => {
      const after = new URL(request.url ?? '/', 'http://source').searchParams.get('after') ?? ''
      response.setHeader('content-type', 'application/json').end(JSON.stringify(pageAfter(after)))
    }).listen(0, '127.0.0.1')
    await once(source, 'listening')
    const { port } = source.address() as AddressInfo
    const nodes = await startDyingNodes(
      new URL('children/node.mjs', import.meta.url),
      2,
      {
        options: { ...store, staleAfterMs: 1000 },
        inbox: { concurrency: 20, pollMs: 50, maxAttempts: 1000 },
        workMs: 0,
        journal,
        source: `http://127.0.0.1:${port}/rows`,
      },
      seededRandom(seed),
    )
    const lock = createSessionLock({ ...store, logger: false })
    try {
      const statuses = async () => (await lock.stats()).messages
      const stored = async () => Object.values(await statuses()).reduce((sum, count) => sum + count, 0)
      await expect.poll(stored, { timeout: 200_000, interval: 100 }).toBe(ROWS)
      const kills = nodes.kills()
      await nodes.spare()
      await expect.poll(async () => (await statuses()).completed, { timeout: 100_000, interval: 100 }).toBe(ROWS)
      expect(await stored()).toBe(ROWS)
      const handled = readFileSync(journal, 'utf8').trim().split('\n')
      const ids = handled.flatMap((line) => (JSON.parse(line) as { ids: string[] }).ids)
      expect(new Set(ids), `seed ${seed}`).toEqual(new Set(ROW_LIST.map(({ id }) => id)))
      expect(kills, `seed ${seed}`).toBeGreaterThan(0)
      // A kill between a handler's end and its settlement: at most what one node had in hand.
      expect(ids.length - ROWS, `handled twice, with ${nodes.kills()} kills (seed ${seed})`).toBeLessThanOrEqual(
        nodes.kills() * 20,
      )
    } finally {
      await nodes.end()
      source.close()
      await lock.close()
    }
  },
  400_000,
)
