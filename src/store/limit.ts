/** A limit on how long something may take. */

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
