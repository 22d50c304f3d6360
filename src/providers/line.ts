/**
 * LINE: several events a POST. Each has an id that a redelivery keeps; on old ones only the message has one. An
 * edit has a new event id and the old message id.
 */
import { fieldOf, firstPresent, headerOf, listOf, plainFieldsOf, valuesOf } from './fields.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { equalsSecretly, hmacSha256 } from './signature.ts'

/** LINE waits for two seconds, and redelivers only where that was switched on. */
export const line = {
  name: 'line',
  redelivers: false,
  deadlineMs: 2000,
  recognises({ body }: IncomingDelivery) {
    const events = fieldOf(body, 'events')
    return typeof fieldOf(body, 'destination') === 'string' && Array.isArray(events) && events.every(isEvent)
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const device = firstPresent(fieldOf(body, 'destination'))
    return listOf(body, 'events').map((event) => readEvent(event, device))
  },
  reduce: (body: unknown, kept: ReadonlySet<number>) => ({
    ...(body as object),
    events: listOf(body, 'events').filter((_event, position) => kept.has(position)),
  }),
  isSigned(delivery: SignedDelivery, secret: string, _now: number) {
    const signature = headerOf(delivery, 'x-line-signature')
    if (signature === undefined) return false
    return equalsSecretly(signature, hmacSha256(secret, delivery.rawBody).toString('base64'))
  },
  handshake: ({ body }: IncomingDelivery) =>
    typeof fieldOf(body, 'destination') === 'string' && isEmptyList(fieldOf(body, 'events'))
      ? { status: 200, body: '' }
      : undefined,
} satisfies Provider

const KINDS: ReadonlyMap<unknown, MessageKind> = new Map([
  ['message', 'message'],
  ['messageEdited', 'edit'],
  ['unsend', 'delete'],
  ['postback', 'callback'],
  ['delivery', 'status'],
])

function isEvent(event: unknown): boolean {
  return typeof fieldOf(event, 'type') === 'string' && typeof fieldOf(event, 'timestamp') === 'number'
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0
}

function readEvent(event: unknown, device: unknown): ReadMessage {
  const type = fieldOf(event, 'type')
  const source = fieldOf(event, 'source')
  const messageId = type === 'message' ? fieldOf(fieldOf(event, 'message'), 'id') : null
  const id = firstPresent(fieldOf(event, 'webhookEventId'), messageId)
  const group = firstPresent(fieldOf(source, 'groupId'), fieldOf(source, 'roomId'))
  return {
    id,
    prospect: firstPresent(fieldOf(source, 'userId')),
    device,
    kind: KINDS.get(type) ?? 'event',
    ...(group === null ? {} : { group }),
    ...(id === null ? { content: contentOf(event) } : {}),
  }
}

/** The event and what its own field says (`unsend`, `postback`): texts only, which no nesting and no list makes slow. */
function contentOf(event: unknown): unknown[] {
  const fields = valuesOf(event).filter((field) => !Array.isArray(field))
  return [...plainFieldsOf(event), ...fields.flatMap(plainFieldsOf)]
}
