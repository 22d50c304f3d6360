/** What became of a turn, told: in the log, as an event, and counted. */
import type { PartVerdict } from '../store/store.ts'
import type { Engine } from './engine.ts'
import type { ClaimEvent } from './events.ts'
import type { Blocker } from './in-the-way.ts'
import type { LogSubject } from './log.ts'
import type { PlannedPart } from './plan.ts'
import { completedPart, openPart, type Reason, type Turn } from './turn.ts'

export interface OutcomeCounts {
  acquired: number
  duplicates: number
  busy: number
  takeovers: number
  /** Handled without protection, because the store was down and `onStoreError` is `allow`. */
  unprotected: number
}

export interface Report {
  acquired(turn: Turn, part: PlannedPart, said: PartVerdict & { outcome: 'acquired' }): void
  duplicate(turn: Turn, of: 'completed' | 'in_flight'): void
  busy(turn: Turn, blocker: Blocker | null): void
  /** Of a delivery that was had in part: what was not. */
  rest(turn: Turn, blocker: Blocker | null): void
  /** The store could not be asked. */
  failed(turn: Turn, error: unknown): void
  unprotected(turn: Turn, error: unknown): void
}

export function createReport(engine: Engine): Report {
  const { port, options, log, events, meters, counts } = engine

  function subjectOf(turn: Turn, parts: readonly PlannedPart[]): LogSubject {
    const messageIds = parts.flatMap((part) => part.messages.map((message) => message.id))
    return { names: parts.map((part) => part.name), messageIds, owner: turn.owner }
  }

  function eventOf(turn: Turn, parts: readonly PlannedPart[]): ClaimEvent {
    return {
      provider: turn.plan.provider,
      prospect: parts[0]?.prospect ?? null,
      device: parts[0]?.device ?? null,
      messageIds: parts.flatMap((part) => part.messages.map((message) => message.id)),
      owner: turn.owner,
      nodeId: options.nodeId,
    }
  }

  function duplicate(turn: Turn, of: 'completed' | 'in_flight', parts: readonly PlannedPart[]): void {
    if (parts.length === 0) return
    const waitedMs = port.now() - turn.enteredAt
    counts.duplicates += 1
    meters.claimed(of === 'completed' ? 'duplicate' : of, turn.plan.provider, waitedMs)
    log.duplicate(subjectOf(turn, parts), of, waitedMs)
    if (events.isHeard('duplicate')) events.emit('duplicate', { ...eventOf(turn, parts), of, waitedMs })
  }

  function busy(turn: Turn, blocker: Blocker | null, parts: readonly PlannedPart[]): void {
    if (parts.length === 0) return
    const waitedMs = port.now() - turn.enteredAt
    const isTry = turn.deadlineAt === turn.enteredAt && options.lockWaitMs > 0
    const heldBy = blocker && { nodeId: blocker.nodeId, owner: blocker.owner, heldForMs: blocker.heldForMs }
    counts.busy += 1
    meters.claimed('busy', turn.plan.provider, waitedMs)
    log.busy(subjectOf(turn, parts), waitedMs, heldBy, isTry)
    if (events.isHeard('busy')) events.emit('busy', { ...eventOf(turn, parts), waitedMs, heldBy })
  }

  return {
    acquired(turn, part, { fencingToken, takeover }) {
      const waitedMs = port.now() - turn.enteredAt
      counts.acquired += 1
      meters.claimed('acquired', turn.plan.provider, waitedMs)
      if (takeover) {
        counts.takeovers += 1
        log.takeover(subjectOf(turn, [part]), takeover, waitedMs)
        const from = { fromNodeId: takeover.nodeId, ageMs: takeover.silentForMs }
        if (events.isHeard('takeover')) events.emit('takeover', { ...eventOf(turn, [part]), ...from, fencingToken })
      } else if (log.isDebug()) log.acquired(subjectOf(turn, [part]), waitedMs)
      if (events.isHeard('acquired')) events.emit('acquired', { ...eventOf(turn, [part]), fencingToken, waitedMs })
    },
    duplicate: (turn, of) => duplicate(turn, of, turn.plan.parts),
    busy: (turn, blocker) => busy(turn, blocker, turn.plan.parts),
    rest(turn, blocker) {
      const completed = turn.plan.parts.map((part) => completedPart(turn, part))
      const withheld = (reason: Reason) =>
        [...turn.withheld].filter(([, why]) => why === reason).map(([part]) => openPart(turn, part))
      duplicate(
        turn,
        'completed',
        completed.filter(({ messages }) => messages.length > 0),
      )
      duplicate(turn, 'in_flight', withheld('in_flight'))
      busy(turn, blocker, withheld('busy'))
    },
    failed(turn, error) {
      engine.storeFailed('claim', error, subjectOf(turn, turn.plan.parts))
    },
    unprotected(turn, error) {
      counts.unprotected += 1
      meters.unprotected(turn.plan.provider)
      log.unprotected(subjectOf(turn, turn.plan.parts), error)
    },
  }
}
