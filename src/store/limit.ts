/** A limit on how long something may take. */

/**
 * An attempt to connect may outlast the call it was made for: the next call uses its outcome. It is never given less
 * than this, or a short limit on calls would keep a busy server from ever being reached.
 */
const CONNECT_AT_LEAST_MS = 5000

/** How long connecting may take, where a call may take `callMs`. */
export function connectWithinMs(callMs: number): number {
  return Math.max(CONNECT_AT_LEAST_MS, callMs)
}

/** `passed` rejects when the time is over, with what `onPassed` returns. Stop it when the work is done. */
export function startLimit(limitMs: number, onPassed: () => Error): { passed: Promise<never>; stop: () => void } {
  let timer: NodeJS.Timeout | undefined
  const passed = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(onPassed()), limitMs)
  })
  // Where the work was done first, nobody listens any more.
  passed.catch(() => undefined)
  return { passed, stop: () => clearTimeout(timer) }
}
