/**
 * The lines of one process: who waits for what, first come first served.
 *
 * There is one line for each session row and each message that any claim of this process wants or
 * holds. A claim stands in all its lines at once, from its arrival to its end, and moves only when
 * it can have all of them: nobody holds one while waiting for another, so there is no deadlock; and
 * who cannot move does not stop those behind it, so there is no convoy.
 */
import type { Port, Timer } from './port.ts'

export interface Waiter {
  /** The lines it stands in. */
  keys: readonly string[]
  /** `claiming`: the store is being asked; `holding`: its handler runs. */
  state: 'waiting' | 'claiming' | 'holding' | 'gone'
}

/** What the store said of a row that another process holds. */
export interface HeldElsewhere {
  readonly nodeId: string | null
  readonly owner: string | null
  readonly messageKeys: readonly string[]
  readonly heldForMs: number
  readonly remainingMs: number
}

interface Line<Member> {
  /** In order of arrival; the current one included. */
  readonly waiters: Member[]
  /** Who is claiming or holding. */
  current: Member | undefined
  /**
   * Set while another process holds the row: the store is asked again when the timer fires. `isToldOf`: it was
   * asked because the row was said to be free.
   */
  elsewhere:
    | { readonly holder: HeldElsewhere; readonly timer: Timer | undefined; readonly isToldOf: boolean }
    | undefined
  /** The row was said to be free while the store was being asked: the answer may be from before that. */
  isSaidFree: boolean
  /** How many turns this process has had in a row. */
  turns: number
  /** Set for a moment after a lease ended for which another process waits. */
  yielding: { readonly timer: Timer; readonly blocks: boolean } | undefined
}

export interface Lines<Member extends Waiter> {
  /** Puts a newcomer at the end of its lines; starts it when all of them are free. */
  enter(waiter: Member): boolean
  /** Starts somebody who stands in his lines already, when all of them are free. */
  startIfFree(waiter: Member): boolean
  /** The store said that others hold these rows: asks again later, and lets those behind go first where they can. */
  stepBack(waiter: Member, held: ReadonlyMap<string, HeldElsewhere>): void
  /**
   * Another process waits for this row, whose lease ends now: after some turns in a row here, those who
   * stand in this line let it go first.
   */
  yieldTurn(key: string): void
  /** Takes a waiter out of some of its lines. */
  leave(waiter: Member, keys: readonly string[]): void
  /** Everybody in a line, in order of arrival. */
  inLine(key: string): Iterable<Member>
  /** Who is claiming or holding a line in this process. */
  current(key: string): Member | undefined
  /** What the store said last of a row that is held elsewhere. */
  elsewhere(key: string): HeldElsewhere | undefined
  /** Forgets what the store said last of a row: it has changed hands. Who was not told of that trusts in being told no more. */
  forget(key: string): void
  /** The row is said to be free: whoever waits for it asks at once, rather than at the next poll. */
  askNow(key: string): void
  /** Is nobody in the way, as far as this process knows? */
  isFree(key: string): boolean
}

/** The poll is quick at first, and comes after a share of the time that the row has been held; never more slowly than this. */
const MAX_POLL_MS = 40
const POLL_AFTER_SHARE = 1 / 3
/** Who is told when rows are free asks by himself only in case that he is not: a notification can be lost. */
const POLL_WHEN_TOLD_MS = 500
/** Polls meet on this grid, so that those of many rows go in one statement. */
const POLL_GRID_MS = 5

/** So many turns in a row are had where another process waits: a turn that stays is cheaper than one that goes over. */
const TURNS_IN_A_ROW = 4
/** Long enough for the slowest poll of the process that waits. */
const YIELD_MS = MAX_POLL_MS + 2 * POLL_GRID_MS

function newLine<Member>(first: Member): Line<Member> {
  return {
    waiters: [first],
    current: undefined,
    elsewhere: undefined,
    isSaidFree: false,
    turns: 0,
    yielding: undefined,
  }
}

const NO_KEYS: readonly string[] = []

function without(keys: readonly string[], left: readonly string[]): string[] {
  const gone = new Set(left)
  return keys.filter((key) => !gone.has(key))
}

export function createLines<Member extends Waiter>(port: Port, start: (waiter: Member) => void): Lines<Member> {
  const lines = new Map<string, Line<Member>>()
  /**
   * Does {@link Lines.askNow} come when a row is free? Judged by what comes, since a listening connection can be lost
   * without a sign, and behind a pooler it hears nothing: true from one that came to one that did not.
   */
  let isTold = false

  const isFree = (key: string): boolean => {
    const line = lines.get(key)
    return !line || (line.current === undefined && line.elsewhere?.timer === undefined && !line.yielding?.blocks)
  }

  function startIfFree(waiter: Member): boolean {
    for (const key of waiter.keys) if (!isFree(key)) return false
    waiter.state = 'claiming'
    for (const key of waiter.keys) {
      const line = lines.get(key)
      if (!line) continue
      line.current = waiter
      line.isSaidFree = false
    }
    start(waiter)
    return true
  }

  function dropIfEmpty(key: string, line: Line<Member>): void {
    // Who had turns in a row is remembered while another process waits, though nobody stands here just now.
    if (line.waiters.length > 0 || line.yielding) return
    line.elsewhere?.timer?.cancel()
    lines.delete(key)
  }

  function wake(key: string): void {
    const line = lines.get(key)
    if (!line || !isFree(key)) return
    for (const waiter of line.waiters) if (waiter.state === 'waiting' && startIfFree(waiter)) return
  }

  function pollAfterMs({ heldForMs, remainingMs }: HeldElsewhere): number {
    const byShare = Math.min(Math.max(heldForMs * POLL_AFTER_SHARE, POLL_GRID_MS), MAX_POLL_MS)
    return Math.min(isTold ? POLL_WHEN_TOLD_MS : byShare, remainingMs + 1)
  }

  function askLater(key: string, line: Line<Member>, holder: HeldElsewhere): void {
    line.turns = 0
    if (line.isSaidFree) {
      line.elsewhere = { holder, timer: undefined, isToldOf: true }
      return
    }
    const now = port.now()
    const at = Math.ceil((now + pollAfterMs(holder)) / POLL_GRID_MS) * POLL_GRID_MS
    const timer = port.after(at - now, () => {
      line.elsewhere = { holder, timer: undefined, isToldOf: false }
      wake(key)
    })
    line.elsewhere = { holder, timer, isToldOf: false }
  }

  return {
    enter(waiter) {
      for (const key of waiter.keys) {
        const line = lines.get(key)
        if (line) line.waiters.push(waiter)
        else lines.set(key, newLine(waiter))
      }
      return startIfFree(waiter)
    },
    stepBack(waiter, held) {
      waiter.state = 'waiting'
      for (const key of waiter.keys) {
        const line = lines.get(key)
        if (!line) continue
        line.current = undefined
        const holder = held.get(key)
        if (holder) askLater(key, line, holder)
      }
      for (const key of waiter.keys) wake(key)
    },
    yieldTurn(key) {
      const line = lines.get(key)
      if (!line) return
      const blocks = line.turns + 1 >= TURNS_IN_A_ROW
      if (blocks) line.turns = 0
      line.yielding?.timer.cancel()
      const timer = port.after(YIELD_MS, () => {
        line.yielding = undefined
        dropIfEmpty(key, line)
        wake(key)
      })
      line.yielding = { timer, blocks }
    },
    leave(waiter, keys) {
      // Who holds stands in no line anew, and leaves them one by one, of which a large delivery has thousands.
      if (waiter.state !== 'holding')
        waiter.keys = waiter.keys.length === keys.length ? NO_KEYS : without(waiter.keys, keys)
      for (const key of keys) {
        const line = lines.get(key)
        const place = line ? line.waiters.indexOf(waiter) : -1
        if (!line || place < 0) continue
        if (place === 0) line.waiters.shift()
        else line.waiters.splice(place, 1)
        if (line.current === waiter) {
          line.turns += 1
          line.current = undefined
          line.elsewhere = undefined
        }
        dropIfEmpty(key, line)
      }
      for (const key of keys) wake(key)
    },
    inLine: (key) => lines.get(key)?.waiters ?? [],
    current: (key) => lines.get(key)?.current,
    elsewhere: (key) => lines.get(key)?.elsewhere?.holder,
    forget(key) {
      const line = lines.get(key)
      if (!line?.elsewhere) return
      if (!line.elsewhere.isToldOf && !line.isSaidFree) isTold = false
      line.elsewhere = undefined
    },
    askNow(key) {
      isTold = true
      const line = lines.get(key)
      if (!line) return
      if (!line.elsewhere?.timer) {
        line.isSaidFree = true
        return
      }
      line.elsewhere.timer.cancel()
      line.elsewhere = { holder: line.elsewhere.holder, timer: undefined, isToldOf: true }
      wake(key)
    },
    startIfFree,
    isFree,
  }
}
