/** How calls of the store fare: by the kind of the episode, and by what happens in it. */

/**
 * The kinds. `gentle`: nothing happens that could cost a lease its holder, so that each message must be handled exactly
 * once, without a takeover. `hasInbox`: bots that answer first. `hasTransactions`: handlers that write in
 * transactions.
 */
export const KINDS = {
  calm: { isGentle: true },
  lossy: { isGentle: true, lost: 0.08, isOnceOnly: true },
  crashes: { faults: ['kill', 'close'] },
  pauses: { faults: ['pause', 'release'] },
  outages: { faults: ['outage', 'slow', 'outage'] },
  'inbox, calm': { isGentle: true, hasInbox: true },
  'inbox, storm': { faults: ['kill', 'close', 'pause', 'outage', 'slow'], lost: 0.03, hasInbox: true },
  transactions: { faults: ['kill', 'close', 'pause', 'cut', 'release', 'cut'], hasTransactions: true },
  storm: { faults: ['kill', 'close', 'pause', 'outage', 'slow', 'jump', 'release'], lost: 0.03 },
}

export function createWeather({ clock, random, timeoutMs }, { isGentle = false, lost = 0, isOnceOnly = false }, tells) {
  const listeners = new Map()
  /** Of which call of which process the last answer was lost. */
  const unlucky = new Set()
  let downUntil = 0
  let slowUntil = 0
  let jumpedMs = 0
  let isOver = false
  const skews = new Map()

  function isUnlucky(process, name) {
    const call = `${process.name} ${name}`
    const was = unlucky.delete(call)
    if (isOver || (isOnceOnly && was) || random() >= lost) return false
    unlucky.add(call)
    return true
  }

  return {
    listeners,
    tells,
    notificationsLost: () => (isGentle ? 0 : 0.2),
    isDown: () => downUntil > clock.now(),
    fateOf(process, name) {
      const mostMs = slowUntil > clock.now() ? timeoutMs * 1.2 : 3
      const isLost = isUnlucky(process, name)
      return {
        isRefused: downUntil > clock.now(),
        isRequestLost: isLost && random() < 0.5,
        isAnswerLost: isLost,
        requestMs: random() * mostMs,
        answerMs: random() * mostMs,
      }
    },
    /** What a store sees that trusts the clock of whoever asks. */
    callerClock(process) {
      if (!skews.has(process)) skews.set(process, (random() - 0.5) * 60_000)
      globalThis.simulatedCallerMs = clock.now() + skews.get(process)
    },
    jumpedMs: () => jumpedMs,
    outage(forMs) {
      downUntil = clock.now() + forMs
    },
    slow(forMs) {
      slowUntil = clock.now() + forMs
    },
    jump(byMs) {
      jumpedMs += byMs
    },
    /** From here on, all goes well. */
    clear() {
      isOver = true
      downUntil = 0
      slowUntil = 0
    },
  }
}
