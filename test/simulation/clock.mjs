/** Virtual time: events in their order, and nothing between them. */
import TinyQueue from 'tinyqueue'

export function createClock() {
  const events = new TinyQueue([], (one, other) => one.at - other.at || one.place - other.place)
  let now = 0
  let places = 0

  return {
    /** Milliseconds since the beginning. */
    now: () => now,
    /** Does the work at that time, after whatever was put there before. What it returns has a `cancel`. */
    at(time, work) {
      places += 1
      const event = { at: Math.max(time, now), place: places, work }
      events.push(event)
      return {
        cancel() {
          event.work = undefined
        },
      }
    },
    /** Lets time pass until it is over, or nothing is left to happen. */
    async run(isOver) {
      while (!isOver()) {
        const event = events.pop()
        if (!event) return
        now = event.at
        if (!event.work) continue
        event.work()
        await allPromises()
      }
    },
  }
}

/** Whatever follows from what has happened has happened by then. */
function allPromises() {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
