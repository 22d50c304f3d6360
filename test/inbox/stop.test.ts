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
