/** Tells what becomes of messages, as it is told of a claim: counts, log lines, events. */
import type { Engine } from '../engine/engine.ts'
import { newPart, type PlannedPart } from '../engine/plan.ts'
import type { Arrival, Taken } from '../store/queue.ts'

/** Messages that came again: they are kept or handled already. `messages`: those of the arrival that are known. */
export function tellKnown(engine: Engine, { owner }: Arrival, messages: Arrival['messages'], arrivedAt: number): void {
  const { counts, meters, log, events, options, port } = engine
  const [first] = messages
  if (!first) return
  const { provider, row } = first
  const waitedMs = port.now() - arrivedAt
  const messageIds = messages.map(({ id }) => id)
  counts.duplicates += 1
  meters.claimed('duplicate', provider, waitedMs)
  const names = new Set(messages.map((message) => newPart([message.row], message).name))
  log.duplicate({ names: [...names], messageIds, owner }, 'completed', waitedMs)
  if (!events.isHeard('duplicate')) return
  const { prospect, device } = row
  const { nodeId } = options
  events.emit('duplicate', { provider, prospect, device, messageIds, owner, nodeId, of: 'completed', waitedMs })
}

/** Messages that are taken, and begun. */
export function tellTaken(engine: Engine, taken: Taken, part: PlannedPart): void {
  const { counts, meters, log, events } = engine
  const { owner, nodeId } = taken.claim
  const { fencingToken, takeover, messages } = taken
  const messageIds = messages.map((message) => message.id)
  const subject = { names: [part.name], messageIds, owner }
  const provider = messages[0]?.provider ?? ''
  const event = { provider, prospect: part.prospect, device: part.device, messageIds, owner, nodeId, fencingToken }
  // By two clocks, the store's and this process's own: good enough for people.
  const waitedMs = Math.max(0, Date.now() - (messages[0]?.receivedAt ?? 0))
  counts.acquired += 1
  meters.claimed('acquired', provider, waitedMs)
  if (takeover) {
    counts.takeovers += 1
    log.takeover(subject, takeover, waitedMs)
    const from = { fromNodeId: takeover.nodeId, ageMs: takeover.silentForMs }
    if (events.isHeard('takeover')) events.emit('takeover', { ...event, ...from })
  } else if (log.isDebug()) log.acquired(subject, waitedMs)
  if (events.isHeard('acquired')) events.emit('acquired', { ...event, waitedMs })
}
