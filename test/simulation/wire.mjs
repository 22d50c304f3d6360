/**
 * The way from a process to the store and back: it takes time, and loses things. The store itself is the real one
 * behind the contract, on virtual time; what it was asked, and what it said, the judge sees on the spot.
 */

/** The calls of the contract that the engine makes in traffic. */
const CALLS = ['claim', 'look', 'renew', 'settle', 'release', 'cleanup', 'sessions', 'messages', 'stats']
const QUEUE_CALLS = ['enqueue', 'take', 'haveMore', 'requeue', 'discard', 'depth', 'position', 'enqueueFrom']
/** A broken connection is noticed soon. */
const NOTICED_MS = 4

/** The store as one process has it. `weather`: how calls fare just now. */
export function createWire({ clock, random, store, judge, weather, StoreError, database }, process, timeoutMs) {
  const listeners = weather.listeners
  const lost = (text) => new StoreError('unreachable', `simulated: ${text}`, { answerLost: true })

  /** The request arrives, is done, and is answered: or not, by the weather. */
  function call(name, ask, args) {
    return new Promise((resolve, reject) => {
      const fate = weather.fateOf(process, name)
      let isGivenUp = false
      const limit = process.port.after(timeoutMs, () => {
        isGivenUp = true
        reject(lost('no answer in time'))
      })
      const answer = (afterMs, work) =>
        process.receive(() => {
          limit.cancel()
          if (!isGivenUp) work()
        }, afterMs)
      if (fate.isRefused) {
        answer(fate.answerMs, () => reject(new StoreError('unreachable', 'simulated: refused')))
        return
      }
      clock.at(clock.now() + fate.requestMs, () => {
        if (fate.isRequestLost || weather.isDown()) answer(NOTICED_MS, () => reject(lost('connection reset')))
        else {
          weather.callerClock(process)
          ask(...args).then((verdict) => {
            const heard = judge.executed(process, name, args, verdict)
            if (name === 'settle') notify(args[0], verdict)
            if (fate.isAnswerLost) answer(NOTICED_MS, () => reject(lost('answer lost')))
            else {
              answer(fate.answerMs, () => {
                heard?.()
                resolve(verdict)
              })
            }
          })
        }
      })
    })
  }

  function notify(settlements, verdicts) {
    settlements.forEach(({ rows }, index) => {
      if (verdicts[index] !== 'contended') return
      for (const { key } of rows) {
        for (const [listening, released] of listeners) {
          if (random() < weather.notificationsLost()) continue
          listening.receive(() => released(key), random() * 3)
        }
      }
    })
  }

  const over = (calls, target) =>
    Object.fromEntries(calls.map((name) => [name, (...args) => call(name, target[name].bind(target), args)]))

  return {
    name: 'simulated:',
    singleProcess: false,
    migrate: async () => [],
    checkSchema: async () => {},
    ...over(CALLS, store),
    ...(weather.tells && { listen: (released) => void listeners.set(process, released) }),
    ...(store.queue && { queue: over(QUEUE_CALLS, store.queue) }),
    ...(database && { transactions: database.of(process) }),
    close: async () => {},
  }
}
