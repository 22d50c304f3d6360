/** What a clean-up has found and not removed yet. */
import { expect, test } from 'vitest'
import { createCleanUp } from '../../src/store/cleanup.ts'

/** Messages that are to go, in a table that others see too. */
function cleanUpOf(expired: Set<string>) {
  const searches: number[] = []
  const cleanUp = createCleanUp<void>({
    async find() {
      searches.push(expired.size)
      return { sessions: [], messages: [...expired] }
    },
    removeSessions: async () => 0,
    removeMessages: async (_, keys) => keys.filter((key) => expired.delete(key)).length,
  })
  return { searches, next: () => cleanUp(undefined, { limit: 2, abandonedAfterMs: 1000 }) }
}

test('one search serves several batches', async () => {
  const { searches, next } = cleanUpOf(new Set(['a', 'b', 'c', 'd']))
  expect(await next()).toEqual({ sessions: 0, messages: 2, more: true })
  expect(await next()).toEqual({ sessions: 0, messages: 2, more: true })
  expect(await next()).toEqual({ sessions: 0, messages: 0, more: false })
  expect(searches).toEqual([4, 0])
})

test('what a clean-up that was ended has left is no end for the next one, also where others have removed it', async () => {
  const expired = new Set(['a', 'b', 'c', 'd'])
  const { next } = cleanUpOf(expired)
  await next()
  expired.clear()
  for (const key of ['e', 'f']) expired.add(key)
  expect(await next()).toEqual({ sessions: 0, messages: 0, more: true })
  expect(await next()).toEqual({ sessions: 0, messages: 2, more: true })
  expect(await next()).toEqual({ sessions: 0, messages: 0, more: false })
})
