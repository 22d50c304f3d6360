/** Who waits with a message that turns out to be completed is told: answered, or left to wait for the rest of its delivery. */
import type { CompletedMessage } from '../store/store.ts'
import type { Lines } from './lines.ts'
import type { PlannedPart } from './plan.ts'
import { isCompleted, linesOf, noteCompleted, type Turn } from './turn.ts'

export interface Told {
  /** These messages are completed: everybody who waits with one of them is told. */
  note(completed: readonly CompletedMessage[]): void
  /** Does it once they are told, so that none of them asks the store for what is known here. */
  afterwards(work: () => void): void
}

/** `finish`: answers a turn with nothing left to ask for. */
export function createTold(lines: Lines<Turn>, finish: (turn: Turn) => void): Told {
  /** Told together: one by one, the messages of a large delivery would each go through all of them. */
  const noted = new Set<Turn>()
  let later: Array<() => void> = []

  function tellAll(): void {
    const turns = [...noted]
    const works = later
    noted.clear()
    later = []
    for (const turn of turns) {
      if (turn.state !== 'waiting') continue
      dropCompleted(lines, turn)
      if (turn.parts.length === 0) finish(turn)
      // What it waited for may have been these messages alone.
      else lines.startIfFree(turn)
    }
    for (const work of works) work()
  }

  return {
    note(completed) {
      for (const message of completed) {
        for (const turn of lines.inLine(message.key)) {
          if (turn.state !== 'waiting') continue
          noteCompleted(turn, message)
          if (noted.size === 0) queueMicrotask(tellAll)
          noted.add(turn)
        }
      }
    },
    afterwards(work) {
      if (noted.size === 0) work()
      else later.push(work)
    },
  }
}

/** Takes the parts out whose messages are all completed. */
export function dropCompleted(lines: Lines<Turn>, turn: Turn): void {
  const done = turn.parts.filter((part) => isCompleted(turn.completed, part))
  if (done.length === 0) return
  turn.parts = turn.parts.filter((part) => !isCompleted(turn.completed, part))
  lines.leave(turn, linesOf(done))
}

/** Wants these parts only, and leaves the lines of the others. */
export function keepParts(lines: Lines<Turn>, turn: Turn, parts: readonly PlannedPart[]): void {
  turn.parts = parts
  const kept = new Set(linesOf(parts))
  if (kept.size === turn.keys.length) return
  lines.leave(
    turn,
    turn.keys.filter((key) => !kept.has(key)),
  )
}
