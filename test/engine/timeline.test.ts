import { expect, test } from 'vitest'
import { momentsOf } from '../../src/engine/timeline.ts'
import { createSessionLock } from '../../src/index.ts'

test.each([
  { retentionMs: 1000, last: 'forgotten: a redelivery is new from then on' },
  { retentionMs: 9_000_000_000_000_000, last: 'completed by node-a' },
])('the story of a message that is remembered for $retentionMs ms', async ({ retentionMs, last }) => {
  const lock = createSessionLock({ store: 'memory:', logger: false, nodeId: 'node-a', retentionMs })
  await lock.run({ messageId: 'm' }, () => undefined)
  const moments = (await lock.find('m')).messages.flatMap(momentsOf)
  expect(moments.at(-1)?.what).toMatch(last)
  for (const { at } of moments) expect(new Date(at).getTime()).toBe(at)
  await lock.close()
})
