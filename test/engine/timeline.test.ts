/** The story of a message, told as people read it. */
import { expect, test } from 'vitest'
import { isoTime, momentsOf } from '../../src/engine/timeline.ts'
import { createSessionLock } from '../../src/index.ts'

test.each([
  { retentionMs: 1000, time: expect.stringMatching(/^\d{4}-/) },
  { retentionMs: 9_000_000_000_000_000, time: undefined },
])('a message that is remembered for $retentionMs ms is forgotten at $time', async ({ retentionMs, time }) => {
  const lock = createSessionLock({ store: 'memory:', logger: false, retentionMs })
  await lock.run({ messageId: 'm' }, () => undefined)
  const last = (await lock.find('m')).messages.flatMap(momentsOf).at(-1)
  expect(last?.what).toBe('forgotten: a redelivery is new from then on')
  expect(isoTime(last?.at ?? 0)).toEqual(time)
  await lock.close()
})
