/** From a delivery to what is stored of it, and back to what the handler gets. */
import type { Delivery, DeliveryMessage } from '../engine/delivery.ts'
import { FINGERPRINT_RETENTION_MS } from '../engine/delivery.ts'
import { isFingerprint, messageKey } from '../engine/keys.ts'
import { newPart, type PlannedPart, planDelivery } from '../engine/plan.ts'
import type { Port } from '../engine/port.ts'
import type { MessageKind } from '../providers/provider.ts'
import type { Arrival, QueuedMessage, Taken, TakenMessage } from '../store/queue.ts'
import type { RowWanted } from '../store/store.ts'
import type { InboxMessage, InboxMessages, ResolvedInboxOptions } from './options.ts'

/** What of a message is stored beside its keys. */
interface Envelope {
  readonly kind: MessageKind
  readonly prospect: string | null
  readonly payload: unknown
}

type Storing = Pick<ResolvedInboxOptions, 'gather' | 'redact' | 'encrypt' | 'decrypt'>

/**
 * What is to be stored; undefined where no message of the delivery has an id or a session. Throws a `KeyError` for ids
 * of wrong type or size. `payloadOf`: the body of the message at this position.
 */
export async function arrivalOf(
  delivery: Delivery,
  payloadOf: (position: number) => unknown,
  options: Storing,
  port: Port,
): Promise<Arrival | undefined> {
  const planned = delivery.messages.map((message) => planOne(delivery, message, port))
  if (planned.every((one) => !one.isKeyed)) return undefined
  const messages = new Map<string, QueuedMessage>()
  for (const [position, { key, row, id, device }] of planned.entries()) {
    if (messages.has(key)) continue
    const message = delivery.messages[position] as DeliveryMessage
    const kind = message.kind ?? 'message'
    const payload = options.redact
      ? options.redact(payloadOf(position), { provider: delivery.provider, kind })
      : payloadOf(position)
    const envelope: Envelope = { kind, prospect: row.prospect, payload }
    const bytes = Buffer.from(JSON.stringify(envelope))
    const stored = options.encrypt ? await options.encrypt(bytes) : bytes
    messages.set(key, { key, home: row.key, provider: delivery.provider, device, id, row, payload: stored })
  }
  return { owner: port.randomId(), messages: [...messages.values()], gather: options.gather }
}

interface Planned {
  readonly key: string
  readonly id: string
  readonly device: string | null
  readonly row: RowWanted
  readonly isKeyed: boolean
}

/** A message without an id, or with neither id nor session, is stored all the same: under an id made up for it. */
function planOne(delivery: Delivery, message: DeliveryMessage, port: Port): Planned {
  const [part] = planDelivery({ ...delivery, messages: [message] }, 'both').parts
  const ref = part?.messages[0]
  const id = ref?.id ?? port.randomId()
  const device = ref?.device ?? part?.device ?? null
  const key = ref?.key ?? messageKey(delivery.provider, device, id, null)
  // Of several names of one person the last one is the one that other messages come under too.
  const row = part?.rows.findLast((one) => one.key !== key) ?? { key, prospect: part?.prospect ?? null, device }
  return { key, id, device, row, isKeyed: part !== undefined }
}

/** The messages of a session as the handler gets them. */
export async function inboxMessages(taken: Taken, { decrypt }: Storing): Promise<InboxMessages> {
  const messages = await Promise.all(
    taken.messages.map(async (message, index): Promise<InboxMessage> => {
      const { id, provider, device, receivedAt } = message
      const { kind, prospect, payload } = await openEnvelope(message.payload, decrypt)
      return { id, provider, prospect, device, kind, receivedAt, attempt: index === 0 ? taken.attempt : 1, payload }
    }),
  )
  return messages as [InboxMessage, ...InboxMessage[]]
}

/** What was stored of a message. */
export async function openEnvelope(bytes: Uint8Array, decrypt: Storing['decrypt']): Promise<Envelope> {
  const plain = decrypt ? await decrypt(bytes) : bytes
  return JSON.parse(Buffer.from(plain).toString('utf8')) as Envelope
}

/** The messages as a claim's own plan would have them. */
export function partOf({ claim, messages }: Taken): PlannedPart {
  const planned = messages.map(plannedMessage)
  const part = newPart([...(claim.parts[0]?.rows ?? [])], planned[0])
  part.messages.push(...planned)
  part.positions.push(...planned.map(({ position }) => position))
  return part
}

function plannedMessage({ key, home, provider, device, id }: TakenMessage, position: number) {
  const remembered = isFingerprint(key) ? { retentionMs: FINGERPRINT_RETENTION_MS } : {}
  return { key, home, provider, device, id, position, ...remembered }
}
