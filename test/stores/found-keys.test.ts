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

/** A table of so many messages, of which each so-manieth is to go; it tells in which order they went. */
function tableOf(length: number, each: number) {
  const keys = Array.from({ length }, (_, index) => String(index).padStart(5, '0'))
  const left = new Set(keys.filter((_, index) => index % each === 0))
  const removed: string[] = []
  const cleanUp = createCleanUp<void>({
    // As they expired: the other way round than they lie.
    find: async (_, { limit }) => ({ sessions: [], messages: [...left].reverse().slice(0, limit) }),
    async sweep(_, { after, limit }) {
      const stretch = keys.filter((key) => key > after).slice(0, limit)
      return { passed: stretch.length, last: stretch.at(-1), messages: stretch.filter((key) => left.has(key)) }
    },
    removeSessions: async () => 0,
    async removeMessages(_, wanted) {
      const gone = wanted.filter((key) => left.delete(key))
      removed.push(...gone)
      return gone.length
    },
  })
  const toTheEnd = async () => {
    while ((await cleanUp(undefined, { limit: 500, abandonedAfterMs: 1000 })).more);
    return { removed, left: left.size }
  }
  return toTheEnd
}

test('where much is to go, it goes in the order in which it lies', async () => {
  const { removed, left } = await tableOf(9000, 3)()
  expect(left).toBe(0)
  expect(removed.slice(500)).toEqual(removed.slice(500).sort())
})

test('where it lies far apart, it goes in the order in which it expired', async () => {
  const { removed, left } = await tableOf(90_000, 30)()
  expect(left).toBe(0)
  expect(removed.filter((key, index) => key > (removed[index - 1] ?? '')).length).toBeLessThan(removed.length / 10)
})
