/** One timer for everything of a lock that has to be looked at later: a timer of its own for each lease would cost more than the lease. */
import type { Port, Timer } from './port.ts'

/** What has something to do at `dueAt`, by the port's clock. */
export interface Beating {
  readonly dueAt: number
  /**
   * Called when it is due, or a moment earlier: does what is due now, and what may as well be done early, which is due
   * by `soon`. Moves `dueAt` on, or leaves the heart.
   */
  beat(now: number, soon: number): void
}

export interface Heart {
  add(one: Beating): void
  remove(one: Beating): void
  /** Nothing more will be added: where nothing is left either, there is no timer any more. */
  stop(): void
}

/** What is due in the next few milliseconds is asked together with what is due now, so that thousands do not fire one by one. */
const TOGETHER_MS = 5

const NEVER = Number.POSITIVE_INFINITY

export function createHeart(port: Port): Heart {
  const all = new Set<Beating>()
  let timer: Timer | undefined
  let firesAt = NEVER

  function arm(at: number): void {
    timer?.cancel()
    firesAt = at
    timer = at === NEVER ? undefined : port.after(Math.max(0, at - port.now()), fire)
  }

  function fire(): void {
    const now = port.now()
    const soon = now + TOGETHER_MS
    // One that is added by another's beat must not find the timer that has just fired.
    firesAt = NEVER
    for (const one of all) if (one.dueAt <= soon) one.beat(now, soon)
    let next = NEVER
    for (const one of all) next = Math.min(next, one.dueAt)
    arm(next)
  }

  return {
    add(one) {
      all.add(one)
      if (one.dueAt < firesAt) arm(one.dueAt)
    },
    remove: (one) => void all.delete(one),
    stop() {
      if (all.size === 0) arm(NEVER)
    },
  }
}
