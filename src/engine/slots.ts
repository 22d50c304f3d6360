/** So many at once, and a line for the others, first come first served. */
import type { Port } from './port.ts'

export interface Slots {
  /** Takes one, or waits for one up to `waitMs`; false where there was none. */
  take(waitMs: number): Promise<boolean>
  /** Gives one back. */
  give(): void
}

export function createSlots(port: Port, many: number): Slots {
  let free = many
  const line: Array<() => void> = []

  return {
    async take(waitMs) {
      if (free > 0) {
        free -= 1
        return true
      }
      if (waitMs <= 0) return false
      return new Promise((resolve) => {
        const timer = port.after(waitMs, () => {
          line.splice(line.indexOf(enter), 1)
          resolve(false)
        })
        const enter = () => {
          timer.cancel()
          resolve(true)
        }
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
