/** Who looks at the page, and what that costs the store. */
import { expect, onTestFinished, test } from 'vitest'
import { createLive } from '../../src/admin/live.ts'
import type { Sections } from '../../src/admin/sections.ts'
import { sectionsWith } from './sections.ts'

test('all who look are shown one reading, also who comes while it is under way', async () => {
  const readings: Array<(sections: Sections) => void> = []
  const live = createLive(() => new Promise((resolve) => readings.push(resolve)), 60_000)
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
