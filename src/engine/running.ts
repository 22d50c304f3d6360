/** Which handler the running code belongs to: so that a handler that claims its own session is told so. */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { LiveHold } from './hold.ts'

/** The handler that the running code belongs to, and the one around it. */
export interface Running {
  readonly hold: LiveHold
  readonly outer: Running | undefined
}

/** One for all locks of the process: a handler of one lock may claim from another. */
const storage = new AsyncLocalStorage<Running>()
let tracked = false

/**
 * From here on it is known, which has a price on every promise (on Node 20 and 22 a tenth of what an empty handler
 * can serve). Where nobody has a lock in hands, but only the middleware, no handler can claim.
 */
export function trackHandlers(): void {
  tracked = true
}

/** Runs a hold's handler. */
export function runWithin<Result>(hold: LiveHold, work: () => Result): Result {
  if (!tracked) return work()
  let outer = storage.getStore()
  // Whoever plans his next round from within this one would else keep all those before.
  while (outer?.hold.isOver) outer = outer.outer
  return storage.run({ hold, outer }, work)
}

/** The handler that the running code belongs to, as far as that is tracked. */
export function runningNow(): Running | undefined {
  return tracked ? storage.getStore() : undefined
}
