/** So many at once, and a line for the others, first come first served. */
import type { Port } from './port.ts'
import { whenAborted } from './turn.ts'

export interface Slots {
  /** Takes one, or waits for one up to `waitMs`, unless the signal aborts; false where there was none. */
  take(waitMs: number, signal: AbortSignal): Promise<boolean>
  /** Gives one back. */
  give(): void
}

export function createSlots(port: Port, many: number): Slots {
  let free = many
  const line: Array<() => void> = []

  return {
    async take(waitMs, signal) {
      if (signal.aborted) return false
      if (free > 0) {
        free -= 1
        return true
      }
      if (waitMs <= 0) return false
      return new Promise((resolve) => {
        const leave = () => {
          line.splice(line.indexOf(enter), 1)
          done(false)
        }
        const done = (isTaken: boolean) => {
          timer.cancel()
          stopListening()
          resolve(isTaken)
        }
        const timer = port.after(waitMs, leave)
        const stopListening = whenAborted(signal, leave)
        const enter = () => done(true)
        line.push(enter)
      })
    },
    give() {
      const next = line.shift()
      if (next) next()
      else free += 1
    },
  }
}
