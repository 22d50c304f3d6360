/** What storms of requests cost the database: duplicates of one message, and messages of one session. */
import { randomBytes } from 'node:crypto'
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import express from 'express'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { createSessionLock, type SessionLock, type SessionLockOptions, sessionLock } from '../../src/index.ts'
import { openStore } from '../../src/store/open.ts'
import { gate, listen, whatsapp } from '../http/bot.ts'
import { countedUrls } from '../stores/connection-counts.ts'
import { type CountedStore, countCalls } from '../stores/counted-store.ts'
import { sharedStores } from '../stores/shared-stores.ts'

const DUPLICATES = 10_000
const REQUESTS = 2000
const SOCKETS = 500
const WAITERS = 1000
const POLLS = 20
/** The polls of a process meet on a grid of so many milliseconds. */
const POLL_GRID_MS = 5

let tablePrefix: string
beforeEach(() => {
  tablePrefix = `s${randomBytes(6).toString('hex')}_`
})

async function countedLock(
  url: string,
  options: SessionLockOptions = {},
): Promise<CountedStore & { lock: SessionLock }> {
  const { store } = await openStore(url, { tablePrefix, timeoutMs: 10_000 })
  const counted = countCalls(store)
  const lock = createSessionLock({
    store: counted.store,
    tablePrefix,
    logger: false,
    lockWaitMs: 120_000,
    storeTimeoutMs: 10_000,
    ...options,
  })
  onTestFinished(async () => {
    await lock.close()
    await store.close()
  })
  await lock.ready()
  return { ...counted, lock }
}

const waiting = async (lock: SessionLock) => (await lock.stats()).node.waiting

describe.each(sharedStores)('$name', ({ name, url, forget }) => {
  afterEach(() => forget(new Set([tablePrefix])))

  test('10 000 simultaneous duplicates of one message: two calls of the store, and none later', async () => {
    const { lock, calls } = await countedLock(url())
    const { passed, pass } = gate()
    const key = { messageId: 'm1', prospect: 'p' }
    const results = Promise.all(Array.from({ length: DUPLICATES }, () => lock.run(key, () => passed)))
    await expect.poll(() => waiting(lock), { timeout: 30_000 }).toBe(DUPLICATES - 1)
    pass()
    const statuses = (await results).map(({ status }) => status)
    expect(statuses.filter((status) => status === 'processed')).toHaveLength(1)
    expect(statuses.filter((status) => status === 'duplicate')).toHaveLength(DUPLICATES - 1)
    await lock.run(key, () => 'again')
    expect(calls).toEqual({ claim: 1, look: 0, settle: 1, renew: 0 })
  }, 120_000)

  test('2 000 duplicates of one message over HTTP: two calls of the store, one run', async () => {
    const { lock, calls } = await countedLock(url())
    const app = express()
    let runs = 0
    app.use(sessionLock(lock))
    app.post('/', async (_req, res) => {
      runs += 1
      // As many as there are sockets have arrived; the rest comes when these are answered.
      await expect.poll(() => waiting(lock), { timeout: 30_000 }).toBe(SOCKETS - 1)
      res.sendStatus(200)
    })
    const origin = await listen(app)
    const agent = new Agent({ keepAlive: true, maxSockets: SOCKETS })
    const statuses = await Promise.all(Array.from({ length: REQUESTS }, () => postTo(origin, agent)))
    agent.destroy()
    expect(new Set(statuses)).toEqual(new Set([200]))
    expect([runs, statuses.length]).toEqual([1, REQUESTS])
    await expect.poll(() => calls).toEqual({ claim: 1, look: 0, settle: 1, renew: 0 })
  }, 120_000)

  test('1 000 wait for one session that another process holds: one claim a poll, all handled as they came', async () => {
    const counted = name === 'sqlite' ? undefined : await countedUrls[name](tablePrefix.slice(0, -1))
    if (counted) onTestFinished(() => counted.close())
    const place = counted?.url ?? url()
    const { lock, calls, items } = await countedLock(place)
    const { lock: holder } = await countedLock(place, { listen: false })
    const { passed, pass } = gate()
    const holding = holder.run({ session: 'wanted' }, () => passed)
    await expect.poll(() => holder.sessions(), { timeout: 10_000 }).toHaveLength(1)

    const order: number[] = []
    const startedAt = performance.now()
    const all = Promise.all(
      Array.from({ length: WAITERS }, (_, index) =>
        lock.run({ messageId: `m${index}`, session: 'wanted' }, () => void order.push(index)),
      ),
    )
    await expect.poll(() => calls.claim, { timeout: 30_000 }).toBeGreaterThanOrEqual(POLLS)
    const polls = calls.claim
    // Of all who wait only the first one asks.
    expect(items.claim).toBe(polls)
    expect(polls).toBeLessThanOrEqual((performance.now() - startedAt) / POLL_GRID_MS + 1)
    // A completed duplicate must not wait for long: each message was looked at once, many in one call.
    expect(items.look).toBeLessThan(WAITERS)
    expect(calls.look).toBeLessThanOrEqual(WAITERS / 100)
    pass()
    await holding
    let isOver = false
    const connections = counted && most(counted.count, () => isOver)
    const results = await all
    isOver = true
    expect(results.every(({ status }) => status === 'processed')).toBe(true)
    expect(order).toEqual(Array.from({ length: WAITERS }, (_, index) => index))
    // Those of both processes; the holder has two, as it does not listen.
    if (connections) expect(await connections).toBe(2 + (name === 'mysql' ? 2 : 3))
  }, 120_000)
})

/** The largest that was counted, now and until it is over. */
async function most(count: () => Promise<number>, isOver: () => boolean): Promise<number> {
  let largest = await count()
  while (!isOver()) {
    await sleep(20)
    largest = Math.max(largest, await count())
  }
  return largest
}

function postTo(origin: string, agent: Agent): Promise<number | undefined> {
  const headers = { 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const sent = request(origin, { method: 'POST', agent, headers }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode))
    })
    sent.on('error', reject).end(JSON.stringify(whatsapp('4917')))
  })
}
