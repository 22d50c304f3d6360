/** Messages that came again: they are kept or handled already, and that is told, as it is of a claim. */
import type { Engine } from '../engine/engine.ts'
import { newPart } from '../engine/plan.ts'
import type { Arrival } from '../store/queue.ts'

/** `messages`: those of the arrival that are known. */
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
