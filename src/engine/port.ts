/** The one door through which time, timers and randomness reach the engine, so that a simulator can drive it. */
import { randomUUID } from 'node:crypto'

export interface Timer {
  cancel(): void
}

export interface Port {
  /** Milliseconds of a clock that never steps back. Not the time of day. */
  now(): number
  /** Runs once after `delayMs`. Keeps the process alive only where somebody is `awaited` by it. */
  after(delayMs: number, work: () => void, awaited?: 'awaited'): Timer
  /** Runs once, after the input that is at hand now was read: what arrives together is written together. */
  soon(work: () => void): void
  /** Unique and not to be guessed. */
  randomId(): string
  /** From 0 up to 1. */
  random(): number
}

/** Node's own clock, timers and randomness. */
export const nodePort: Port = {
  now: () => performance.now(),
  after(delayMs, work, awaited) {
    const timer = setTimeout(work, Math.min(delayMs, MAX_TIMER_MS))
    if (!awaited) timer.unref()
    return { cancel: () => clearTimeout(timer) }
  },
  soon: (work) => {
    setImmediate(work)
  },
  randomId() {
    lastId += 1
    return PROCESS + lastId.toString(36)
  },
  random: () => Math.random(),
}

/** Random once, then counted: an id of its own randomness each costs more than the claim it is for. */
const PROCESS = `${randomUUID()}-`
let lastId = 0

/** Node fires a timer at once when its delay does not fit into 31 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** A promise that is fulfilled after `delayMs`. */
export function pause(port: Port, delayMs: number, awaited?: 'awaited'): Promise<void> {
  return new Promise((resolve) => {
    port.after(delayMs, resolve, awaited)
  })
}

/** Fulfilled when the work is over, or the time; rejects with what the work rejects with until then. */
export async function within(port: Port, limitMs: number, work: Promise<void>): Promise<void> {
  let timer: Timer | undefined
  const late = new Promise<void>((resolve) => {
    timer = port.after(limitMs, resolve, 'awaited')
  })
  try {
    await Promise.race([work, late])
  } finally {
    timer?.cancel()
  }
}
