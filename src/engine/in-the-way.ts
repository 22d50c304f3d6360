/** Who is in a turn's way, as far as this process knows. */
import type { Lines } from './lines.ts'
import type { PlannedPart } from './plan.ts'
import type { Reason, Said, Turn } from './turn.ts'

/** Who holds a session that another message wants. */
export interface Blocker {
  readonly nodeId: string | null
  readonly owner: string | null
  /** For how long, when that was last seen. */
  readonly heldForMs: number
}

/** What is known of a part that cannot be had now. */
export function reasonKnown(lines: Lines<Turn>, turn: Turn, part: PlannedPart): Reason {
  for (const message of part.messages) {
    const other = lines.current(message.key)
    if (other && other !== turn) return 'in_flight'
    for (const row of part.rows) if (lines.elsewhere(row.key)?.messageKeys.includes(message.key)) return 'in_flight'
  }
  return 'busy'
}

/** Who holds the first of these parts that somebody holds, in this process or elsewhere. */
export function blockerKnown(
  lines: Lines<Turn>,
  turn: Turn,
  parts: readonly PlannedPart[],
  here: { readonly nodeId: string; readonly now: number },
): Blocker | null {
  for (const { key } of parts.flatMap(({ rows }) => rows)) {
    const other = lines.current(key)
    if (other && other !== turn) return { nodeId: here.nodeId, owner: other.owner, heldForMs: here.now - other.sentAt }
    const elsewhere = lines.elsewhere(key)
    if (elsewhere) return elsewhere
  }
  return null
}

/** Who holds the first part that the store called held. */
export function blockerSaid(answers: readonly Said[]): Blocker | null {
  for (const { said } of answers) if (said.outcome === 'held') return said.holder
  return null
}
