/** Looks at messages while somebody waits with them: they may be completed elsewhere by now. */
import type { MessageAddress } from '../store/store.ts'
import type { Engine } from './engine.ts'
import type { Lines } from './lines.ts'
import type { Told } from './told.ts'
import { messageOf, type Said, type Turn } from './turn.ts'

export interface Looks {
  /** Looks at the messages of a turn that has to wait. */
  lookFor(turn: Turn): void
  /** A row has changed hands: those who wait with a message of its last holder may have their answer now. */
  noteHolders(answers: readonly Said[]): void
}

export function createLooks(engine: Engine, lines: Lines<Turn>, told: Told): Looks {
  async function look(message: MessageAddress): Promise<void> {
    try {
      const completed = await engine.looks.submit(message)
      if (completed) told.note([completed])
    } catch (error) {
      // The claim itself, or the deadline, will answer.
      engine.log.raw.debug({ err: error }, 'failed to look at a message')
    }
  }

  /** Whoever comes with a message that somebody else came with before is told what he is told. */
  function isFirst(turn: Turn, line: string): boolean {
    for (const other of lines.inLine(line)) return other === turn
    return false
  }

  return {
    lookFor(turn) {
      for (const part of turn.parts) {
        for (const message of part.messages) if (isFirst(turn, message.key)) void look(message)
      }
    },
    noteHolders(answers) {
      for (const { part, said } of answers) {
        for (const row of part.rows) {
          const before = lines.elsewhere(row.key)
          if (!before || (said.outcome === 'held' && said.holder.owner === before.owner)) continue
          lines.forget(row.key)
          for (const key of before.messageKeys) {
            const [first] = lines.inLine(key)
            const message = first?.state === 'waiting' && messageOf(first, key)
            if (message) void look(message)
          }
        }
      }
    },
  }
}
