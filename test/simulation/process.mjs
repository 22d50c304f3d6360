/** A process of the bot, as the engine sees it: its clock, timers and luck. It can be paused, and killed. */

/** What has come to a paused process is read after its timers were looked at. */
const AFTER_TIMERS_MS = 0.001

export function createProcess({ clock, random }, name) {
  const bornAt = clock.now()
  let isAlive = true
  let pausedUntil = 0
  let ids = 0

  /** Nothing happens in a dead process, and in a paused one later. */
  function schedule(time, work, lateBy) {
    let timer = clock.at(time, step)
    function step() {
      if (!isAlive) return
      if (pausedUntil > clock.now()) timer = clock.at(pausedUntil + lateBy, step)
      else work()
    }
    return { cancel: () => timer.cancel() }
  }

  return {
    name,
    port: {
      now: () => clock.now() - bornAt,
      after: (delayMs, work) => schedule(clock.now() + delayMs, work, 0),
      soon: (work) => void schedule(clock.now(), work, AFTER_TIMERS_MS),
      randomId() {
        ids += 1
        return `${name}-${ids}`
      },
      random,
    },
    /** Something comes in from outside. */
    receive: (work, afterMs = 0) => schedule(clock.now() + afterMs, work, AFTER_TIMERS_MS),
    sleep: (forMs) => new Promise((resolve) => schedule(clock.now() + forMs, resolve, 0)),
    /** Its timers are all late, and fire one after the other. */
    hasJustWokenUp: () => clock.now() < pausedUntil + 1,
    kill() {
      isAlive = false
    },
    pause(forMs) {
      pausedUntil = Math.max(pausedUntil, clock.now() + forMs)
    },
  }
}
