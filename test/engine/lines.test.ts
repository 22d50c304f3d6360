/** The lines of one process, under a clock that the test turns. */
import { expect, test } from 'vitest'
import { createLines, type HeldElsewhere, type Waiter } from '../../src/engine/lines.ts'
import { nodePort, type Port } from '../../src/engine/port.ts'

interface Person extends Waiter {
  readonly name: string
}

function world() {
  let now = 0
  const timers: Array<{ at: number; work: () => void }> = []
  const port: Port = {
    ...nodePort,
    now: () => now,
    after(delayMs, work) {
      const timer = { at: now + delayMs, work }
      timers.push(timer)
      return { cancel: () => void timers.splice(timers.indexOf(timer), timers.includes(timer) ? 1 : 0) }
    },
  }
  const started: string[] = []
  const lines = createLines<Person>(port, ({ name }) => void started.push(name))
  return {
    lines,
    started,
    person: (name: string, ...keys: string[]): Person => ({ name, keys, state: 'waiting' }),
    /** Lets time pass up to the next timer; returns how long that took. */
    nextTimer() {
      const before = now
      const [first] = timers.sort((a, b) => a.at - b.at).splice(0, 1)
      now = first?.at ?? now
      first?.work()
      return now - before
    },
    timers,
  }
}

const heldBy = (owner: string, { heldForMs = 0, remainingMs = 30_000 } = {}): HeldElsewhere => ({
  nodeId: 'elsewhere',
  owner,
  messageKeys: [],
  heldForMs,
  remainingMs,
})

test('first come, first served; who cannot go does not stop those behind', () => {
  const { lines, started, person } = world()
  const [a, both, b] = [person('a', 'A'), person('both', 'A', 'B'), person('b', 'B')]
  expect([a, both, b].map((each) => lines.enter(each))).toEqual([true, false, true])
  lines.leave(b, ['B'])
  expect(started).toEqual(['a', 'b'])
  lines.leave(a, ['A'])
  expect(started).toEqual(['a', 'b', 'both'])
})

test('who steps back keeps his place, and asks again: quickly at first, never more slowly than every 40 ms', () => {
  const { lines, started, person, nextTimer } = world()
  const [first, second] = [person('first', 'A'), person('second', 'A')]
  lines.enter(first)
  lines.enter(second)
  let heldForMs = 0
  const waits: number[] = []
  while (heldForMs < 1000) {
    lines.stepBack(first, new Map([['A', heldBy('somebody', { heldForMs })]]))
    const waited = nextTimer()
    // By then the holder of 50 ms that this comes after is waited for by a third of that, and the grid of the polls.
    expect(waited).toBeLessThanOrEqual(Math.max(5, heldForMs / 3 + 5))
    waits.push(waited)
    heldForMs += waited
  }
  expect(waits[0]).toBeLessThanOrEqual(5)
  expect(Math.max(...waits)).toBe(40)
  expect(new Set(started)).toEqual(new Set(['first']))
})

test('nobody waits for longer than the holder’s lease has left', () => {
  const { lines, person, nextTimer } = world()
  const first = person('first', 'A')
  lines.enter(first)
  for (let times = 0; times < 5; times += 1) {
    lines.stepBack(first, new Map([['A', heldBy('somebody', { heldForMs: 29_000, remainingMs: 7 })]]))
    expect(nextTimer()).toBeLessThanOrEqual(10)
  }
})

test('told that the row is free, who waits asks at once, and the poll is gone', () => {
  const { lines, started, person, timers } = world()
  const first = person('first', 'A')
  lines.enter(first)
  lines.stepBack(first, new Map([['A', heldBy('somebody')]]))
  expect([started.length, timers.length]).toEqual([1, 1])
  lines.askNow('somebody else’s row')
  expect([started.length, timers.length]).toEqual([1, 1])
  lines.askNow('A')
  expect([started.length, timers.length]).toEqual([2, 0])
})

test('told that the row is free while the store is being asked, who waits asks once more, at once', () => {
  const { lines, started, person, timers } = world()
  const first = person('first', 'A')
  lines.enter(first)
  lines.askNow('A')
  // This answer may be from before the release.
  lines.stepBack(first, new Map([['A', heldBy('somebody')]]))
  expect([started.length, timers.length]).toEqual([2, 0])
  lines.stepBack(first, new Map([['A', heldBy('somebody else')]]))
  expect([started.length, timers.length]).toEqual([2, 1])
})

test('a notification that is lost costs half a second, and no more; from then on who waits asks as if nobody told him', () => {
  const { lines, person, nextTimer } = world()
  const first = person('first', 'A')
  const heldForLong = new Map([['A', heldBy('somebody', { heldForMs: 10_000 })]])
  const wait = () => {
    lines.stepBack(first, heldForLong)
    return nextTimer()
  }
  lines.enter(first)
  expect(wait()).toBe(40)
  lines.askNow('any row')
  expect(wait()).toBe(500)
  // It has changed hands, and nobody told: the notification was lost.
  lines.forget('A')
  expect(wait()).toBe(40)
  lines.askNow('any row')
  lines.stepBack(first, heldForLong)
  lines.askNow('A')
  // It has changed hands, as was told.
  lines.forget('A')
  expect(wait()).toBe(500)
  // Told while the store was being asked already.
  lines.askNow('A')
  lines.forget('A')
  lines.stepBack(first, heldForLong)
  lines.forget('A')
  expect(wait()).toBe(500)
})

test('while another process waits, a process has four turns in a row, and then leaves it time to ask', () => {
  const { lines, started, person, nextTimer } = world()
  const people = Array.from({ length: 12 }, (_, index) => person(`${index}`, 'A'))
  for (const each of people) lines.enter(each)
  for (const each of people.slice(0, 4)) {
    each.state = 'holding'
    lines.yieldTurn('A')
    lines.leave(each, ['A'])
  }
  expect(started).toEqual(['0', '1', '2', '3'])
  expect(lines.enter(person('late', 'A'))).toBe(false)
  // The slowest poll of whoever waits comes in that time.
  expect(nextTimer()).toBeGreaterThan(40)
  expect(started).toEqual(['0', '1', '2', '3', '4'])
})

test('turns in a row are counted also where nobody stands in line between them', () => {
  const { lines, person, nextTimer } = world()
  const turn = () => {
    const each = person('each', 'A')
    if (!lines.enter(each)) {
      lines.leave(each, ['A'])
      return false
    }
    each.state = 'holding'
    lines.yieldTurn('A')
    lines.leave(each, ['A'])
    return true
  }
  expect(Array.from({ length: 5 }, turn)).toEqual([true, true, true, true, false])
  nextTimer()
  expect(turn()).toBe(true)
})

test('nobody yields where nobody else waits', () => {
  const { lines, started, person, timers } = world()
  const people = Array.from({ length: 12 }, (_, index) => person(`${index}`, 'A'))
  for (const each of people) lines.enter(each)
  for (const each of people) {
    each.state = 'holding'
    lines.leave(each, ['A'])
  }
  expect([started.length, timers.length]).toEqual([12, 0])
})
