/** A node of a Galera cluster dies in traffic. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSessionLock, StoreError } from '../../src/index.ts'
import { type Galera, startGalera } from '../servers/galera.ts'

const SESSIONS = 30
const REQUESTS_PER_BOT = 6
/** How soon the provider delivers again what was refused. */
const REDELIVER_AFTER_MS = 500
/** The bot whose node is killed. */
const VICTIM = 2

/** A node's silence is noticed after five seconds; till then nothing is written anywhere. */
const SOON = { timeout: 30_000 }

let cluster: Galera

beforeAll(async () => {
  cluster = await startGalera()
}, 120_000)
afterAll(() => cluster?.stop())

test('one node is killed in traffic: the others go on, no message is lost or handled twice, and it comes back', async () => {
  const traffic = startTraffic(cluster.nodes.map((node) => node.url))
  const { handled } = traffic
  await expect.poll(() => Math.min(...handled.map((messages) => messages.length)), SOON).toBeGreaterThan(30)
  await cluster.nodes[VICTIM].kill()
  const before = handled.map((messages) => messages.length)
  const after = (bot: number) => (handled[bot]?.length ?? 0) - (before[bot] ?? 0)
  await expect.poll(() => Math.min(after(0), after(1)), SOON).toBeGreaterThan(100)
  expect(after(VICTIM)).toBeLessThanOrEqual(REQUESTS_PER_BOT)
  await cluster.nodes[VICTIM].restart()
  await expect.poll(() => after(VICTIM), SOON).toBeGreaterThan(30)
  const { delivered, locks } = await traffic.stop()
  expect(handled.flat().sort()).toEqual(delivered.sort())
  for (const lock of locks) {
    await expect.poll(() => lock.sessions(), SOON).toEqual([])
    const completed = new Set((await lock.messages({ limit: delivered.length })).map(({ messageId }) => messageId))
    const unmarked = delivered.filter((messageId) => !completed.has(messageId))
    // Where the node was away for longer than a lease lasts, what was in its hands then.
    expect(unmarked.length).toBeLessThanOrEqual(REQUESTS_PER_BOT)
    expect(handled[VICTIM]).toEqual(expect.arrayContaining(unmarked))
    await lock.close()
  }
}, 240_000)

/**
 * One bot on each node, and a provider that delivers each message to one of them, and again, to whichever comes
 * next, until one has answered that it is handled.
 */
function startTraffic(urls: readonly string[]) {
  const tablePrefix = `t${randomBytes(6).toString('hex')}_`
  const locks = urls.map((store) => createSessionLock({ store, tablePrefix, logger: false, lockWaitMs: 100 }))
  const delivered: string[] = []
  const again: Array<{ readonly messageId: string; readonly at: number }> = []
  const handled = urls.map((): string[] => [])
  const busy = new Set<string>()
  let stopped = false

  async function handle(bot: number, messageId: string, session: string): Promise<void> {
    expect(busy.has(session), `${session} has two holders`).toBe(false)
    busy.add(session)
    await sleep(Math.random() * 4)
    busy.delete(session)
    handled[bot]?.push(messageId)
  }

  function next(): string {
    const [refused] = again
    if (refused && (stopped || refused.at < performance.now())) {
      again.shift()
      return refused.messageId
    }
    const messageId = `message-${delivered.length}`
    delivered.push(messageId)
    return messageId
  }

  function deliverAgain(messageId: string): void {
    again.push({ messageId, at: performance.now() + REDELIVER_AFTER_MS })
  }

  async function deliverTo(bot: number): Promise<void> {
    while (!stopped || again.length > 0) {
      const messageId = next()
      const session = `session-${Number(messageId.split('-')[1]) % SESSIONS}`
      try {
        const result = await locks[bot]?.run({ messageId, session }, () => handle(bot, messageId, session))
        if (result?.status === 'busy' || (result?.status === 'duplicate' && result.of === 'in_flight')) {
          deliverAgain(messageId)
        }
      } catch (error) {
        if (!(error instanceof StoreError)) throw error
        expect(error.kind).toBe('unreachable')
        deliverAgain(messageId)
        await sleep(50)
      }
    }
  }

  const requests = urls.flatMap((_, bot) => Array.from({ length: REQUESTS_PER_BOT }, () => deliverTo(bot)))
  return {
    handled,
    async stop() {
      stopped = true
      await Promise.all(requests)
      return { delivered, locks }
    },
  }
}
