/** The judge is judged: of each kind of violation that is planted in a sound history, it finds the one. */
import { expect, test } from 'vitest'
import { judge, type Line } from './checker.ts'

const STALE_AFTER_MS = 2000

/** Anna's first message fails, and is handled when it comes again; a kill beside the second makes it be handled twice. */
const SOUND: readonly Line[] = [
  begun({ at: 100, pid: 1, ids: ['m1'], owner: 'a', token: 1 }),
  ended({ at: 200, pid: 1, ids: ['m1'], owner: 'a', result: 'failed' }),
  begun({ at: 300, pid: 2, ids: ['m1'], owner: 'b', token: 2 }),
  ended({ at: 400, pid: 2, ids: ['m1'], owner: 'b', result: 'completed' }),
  { what: 'acknowledged', at: 410, id: 'm1' },
  begun({ at: 500, pid: 1, ids: ['m2'], owner: 'c', token: 3 }),
  ended({ at: 600, pid: 1, ids: ['m2'], owner: 'c', result: 'completed' }),
  { what: 'killed', at: 601, pid: 1 },
  begun({ at: 2600, pid: 2, ids: ['m2'], owner: 'd', token: 4 }),
  ended({ at: 2700, pid: 2, ids: ['m2'], owner: 'd', result: 'completed' }),
  { what: 'acknowledged', at: 2710, id: 'm2' },
  // A long handler, kept alive by its heartbeat.
  begun({ at: 10_000, pid: 2, ids: ['m3'], owner: 'e', token: 5 }),
  ended({ at: 14_000, pid: 2, ids: ['m3'], owner: 'e', result: 'completed' }),
  begun({ at: 14_010, pid: 3, ids: ['m4'], owner: 'f', token: 6 }),
  ended({ at: 14_100, pid: 3, ids: ['m4'], owner: 'f', result: 'completed' }),
  // Asked for before the other, and granted after it.
  begun({ at: 15_020, claimedAt: 15_010, pid: 2, ids: ['m5'], owner: 'g', token: 7 }),
  ended({ at: 15_040, pid: 2, ids: ['m5'], owner: 'g', result: 'completed' }),
  begun({ at: 15_050, claimedAt: 15_000, pid: 3, ids: ['m6'], owner: 'h', token: 8 }),
  ended({ at: 15_060, pid: 3, ids: ['m6'], owner: 'h', result: 'completed' }),
]

type Sketch = { at: number; pid: number; ids: string[]; owner: string }

function begun(run: Sketch & { token: number; claimedAt?: number }): Line {
  return { what: 'begun', session: 'anna', claimedAt: run.at - 5, ...run }
}

function ended(run: Sketch & { result: 'completed' | 'failed' | 'aborted' }): Line {
  return { what: 'ended', session: 'anna', ...run }
}

function violationsWith(change: (lines: Line[]) => Line[]): readonly string[] {
  return judge(change([...SOUND]), STALE_AFTER_MS).violations
}

test('a sound history is sound, and tells what was handled twice', () => {
  expect(judge(SOUND, STALE_AFTER_MS)).toEqual({ violations: [], runs: 8, acknowledged: 2, twice: ['m2'] })
})

test('two live holders of a session are found, also where a heartbeat kept the first alive', () => {
  const whileFresh = begun({ at: 350, pid: 3, ids: ['m9'], owner: 'x', token: 2.5 })
  expect(violationsWith((lines) => [...lines, whileFresh])).toContainEqual(expect.stringMatching(/m9 beside m1/))
  const later = [
    begun({ at: 13_000, pid: 3, ids: ['m9'], owner: 'x', token: 5.5 }),
    ended({ at: 13_005, pid: 3, ids: ['m9'], owner: 'x', result: 'completed' }),
  ]
  expect(violationsWith((lines) => [...lines, ...later])).toEqual([expect.stringMatching(/m9 beside m3/)])
})

test('a takeover from a killed holder before its lease is stale is found', () => {
  const early = [
    begun({ at: 20_000, pid: 1, ids: ['m8'], owner: 'x', token: 9 }),
    { what: 'killed', at: 20_050, pid: 1 } as const,
    begun({ at: 21_500, pid: 2, ids: ['m9'], owner: 'y', token: 10 }),
  ]
  expect(violationsWith((lines) => [...lines, ...early])).toEqual([expect.stringMatching(/m9 beside m8/)])
})

test('a token that does not grow is found', () => {
  const stuck = (line: Line) => (line.what === 'begun' && line.owner === 'd' ? { ...line, token: 3 } : line)
  expect(violationsWith((lines) => lines.map(stuck))).toEqual([expect.stringMatching(/token 3 .*after 3/)])
  const back = (line: Line) => (line.what === 'begun' && line.owner === 'd' ? { ...line, token: 2.5 } : line)
  expect(violationsWith((lines) => lines.map(back))).toContainEqual(expect.stringMatching(/token 2.5 .*after 3/))
})

test('a message that is handled again without a reason is found', () => {
  expect(violationsWith((lines) => lines.filter(({ what }) => what !== 'killed'))).toEqual([
    'm2 is handled again, though it was completed',
  ])
})

test('a message that is acknowledged and lost is found', () => {
  expect(violationsWith((lines) => [...lines, { what: 'acknowledged', at: 15_000, id: 'm7' }])).toEqual([
    'm7 is acknowledged, and lost',
  ])
})
