/** Stopping waits for whatever is in hand. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { sqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { gate } from '../http/bot.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { startInbox } from './world.ts'

test('also for the next message of a session, taken before the end of the one before was confirmed', async () => {
  const file = `sqlite:${join(makeTemporaryDirectory('stop'), 'bot.db')}`
  const inner = await sqliteStore(file, { tablePrefix: 'stop_', timeoutMs: 2000 })
  const [confirmed, finished] = [gate(), gate()]
  let settlements = 0
  const store: Store = {
    ...inner,
    async settle(items) {
      const verdicts = await inner.settle(items)
      settlements += 1
      if (settlements === 1) await confirmed.passed
      return verdicts
    },
  }
  const world = await startInbox({ store, tablePrefix: 'stop_' }, async ([message]) => {
    if (message?.id === 'second') await finished.passed
  })
  await world.send('ada', 'first', 'second')
  await expect.poll(() => world.calls.flat()).toEqual(['first', 'second'])
  confirmed.pass()
  await expect.poll(() => settlements).toBe(1)
  await new Promise(setImmediate)
  let hasStopped = false
  const stopping = world.inbox.stop().then(() => {
    hasStopped = true
  })
  await new Promise(setImmediate)
  expect(hasStopped).toBe(false)
  finished.pass()
  await stopping
  expect(await inner.sessions({ limit: 10 })).toEqual([])
  await world.close()
  await inner.close()
})

test('twice at once, each as soon as nothing is in hand; not for a source that never answers', async () => {
  const file = `sqlite:${join(makeTemporaryDirectory('stop'), 'bot.db')}`
  const finished = gate()
  const lockOptions = { closeTimeoutMs: 300 }
  const world = await startInbox({ store: file, tablePrefix: 'stop_' }, () => finished.passed, { lockOptions })
  await world.send('ada', 'first')
  await world.untilCalls(1)
  const stopping = [world.inbox.stop(), world.inbox.stop()]
  finished.pass()
  await Promise.all(stopping)
  expect((await world.inbox.stats()).node).toMatchObject({ running: 0, completed: 1 })

  const asked = gate()
  const told: boolean[] = []
  world.inbox.poll({
    source: 'silent',
    fetch: (_, signal) => {
      signal.addEventListener('abort', () => told.push(signal.aborted))
      asked.pass()
      return new Promise(() => undefined)
    },
  })
  await asked.passed
  await world.inbox.stop()
  expect(told).toEqual([true])
  await world.close()
})

test('what a lost lease has done counts for nothing', async () => {
  const file = `sqlite:${join(makeTemporaryDirectory('lost'), 'bot.db')}`
  const finished = gate()
  const world = await startInbox({ store: file, tablePrefix: 'lost_' }, (_, call) =>
    call === 1 ? finished.passed : undefined,
  )
  await world.send('ada', 'first')
  await world.untilCalls(1)
  await world.lock.releaseSessions(
    (await world.lock.sessions()).map(({ key }) => key),
    { force: true },
  )
  finished.pass()
  await expect.poll(async () => (await world.inbox.stats()).node.running).toBe(0)
  expect((await world.inbox.stats()).node).toMatchObject({ completed: 0, retried: 0, dead: 0 })
  await world.close()
})

test('a source is held as a session, so the lock must have some', async () => {
  const lockOptions = { scope: 'message' } as const
  const world = await startInbox({ store: `sqlite:${join(makeTemporaryDirectory('scope'), 'bot.db')}` }, undefined, {
    lockOptions,
  })
  const poll = () => world.inbox.poll({ source: 'orders', fetch: async () => ({ messages: [], next: null }) })
  expect(poll).toThrow('option "scope"')
  await world.close()
})
