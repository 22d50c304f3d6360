/** Who looks at the page, and what that costs the store. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { createLive } from '../../src/admin/live.ts'
import type { Sections } from '../../src/admin/sections.ts'
import { sectionsWith } from './sections.ts'

test('all who look are shown one reading, also who comes while it is under way', async () => {
  const readings: Array<(sections: Sections) => void> = []
  const live = createLive(
    () => new Promise((resolve) => readings.push(resolve)),
    60_000,
    () => undefined,
  )
  onTestFinished(() => live.stop())
  const shown: string[] = []
  for (const name of ['first', 'second']) {
    live.stream(
      { write: (text) => void shown.push(`${name} ${text}`), isFull: () => false, end: () => undefined },
      new AbortController().signal,
    )
  }
  expect(readings).toHaveLength(1)
  readings[0]?.(sectionsWith(''))
  await expect.poll(() => shown.map((text) => text.split(' ')[0])).toEqual(['first', 'second'])
  expect(readings).toHaveLength(1)
})

test('when the last who looked has gone the store is asked no more, and what was for them is forgotten', () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const abandoned = vi.fn<() => void>()
  const live = createLive(() => Promise.resolve(sectionsWith('')), 1000, abandoned)
  const leaving = [new AbortController(), new AbortController()]
  const sink = { write: () => undefined, isFull: () => false, end: () => undefined }
  for (const { signal } of leaving) live.stream(sink, signal)
  leaving[0]?.abort()
  expect(abandoned).not.toHaveBeenCalled()
  leaving[1]?.abort()
  expect(abandoned).toHaveBeenCalledOnce()
  expect(vi.getTimerCount()).toBe(0)
})
