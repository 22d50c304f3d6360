/** How long a message that failed waits for its next attempt. */
import { expect, test } from 'vitest'
import { backoffMs } from '../../src/inbox/retry.ts'

const backoff = { firstMs: 1000, mostMs: 300_000 }
const ATTEMPTS = Array.from({ length: 12 }, (_, index) => index + 1)

test('distances double from attempt to attempt, up to the longest', () => {
  const longest = ATTEMPTS.map((attempt) => backoffMs(backoff, attempt, () => 1))
  expect(longest.slice(0, 4)).toEqual([1000, 2000, 4000, 8000])
  expect(longest.at(-1)).toBe(300_000)
})

test('chance takes away up to a half, so that what failed together does not come back together', () => {
  const shortest = ATTEMPTS.map((attempt) => backoffMs(backoff, attempt, () => 0))
  expect(shortest).toEqual(ATTEMPTS.map((attempt) => backoffMs(backoff, attempt, () => 1) / 2))
  // Also then each distance is no shorter than the longest that there can have been before it.
  for (const [index, distance] of shortest.slice(1, 8).entries()) expect(distance).toBe(1000 * 2 ** index)
})
