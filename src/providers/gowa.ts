/**
 * Gowa (go-whatsapp-web-multidevice). Its signature header is Meta's, so it is known by its body.
 *
 * - A receipt names several messages: each is a status of its own.
 * - Reactions, edits and revocations have ids of their own; `message.deleted` has only its target's.
 */
import { fieldAt, fieldOf, firstPresent, listOf } from './fields.ts'
import { has, hasObject, hasTexts, isGroup, isTrue, joined, kindOf, type Person, personOf } from './gateways.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { isHexHmacSha256 } from './signature.ts'

const FAMILIES: ReadonlySet<string> = new Set(['message', 'chat_presence', 'group', 'newsletter', 'call', 'label'])

const KINDS: ReadonlyMap<unknown, MessageKind | undefined> = new Map([
  ['message', undefined],
  ['message.reaction', 'reaction'],
  ['message.edited', 'edit'],
  ['message.revoked', 'delete'],
])

/** Gowa waits ten seconds, and tries five times. */
export const gowa = {
  name: 'gowa',
  redelivers: true,
  deadlineMs: 10_000,
  recognises({ body }: IncomingDelivery) {
    if (!hasTexts(body, 'event', 'device_id') || !hasObject(body, 'payload')) return false
    return FAMILIES.has((fieldOf(body, 'event') as string).split('.', 1)[0] ?? '') && !has(body, 'session')
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const event = fieldOf(body, 'event')
    const payload = fieldOf(body, 'payload')
    const device = firstPresent(fieldOf(body, 'device_id'))
    if (event === 'message.ack') {
      const status = fieldOf(payload, 'receipt_type')
      const { prospect, group } = senderOf(payload)
      const person = group === undefined ? { prospect } : { prospect, group }
      return listOf(payload, 'ids').map((id) => ({ id: joined(id, status), ...person, device, kind: 'status' }))
    }
    if (event === 'message.deleted') {
      const id = joined(fieldOf(payload, 'deleted_message_id'), 'deleted')
      return [{ id, ...senderOf(payload), device, kind: 'delete' }]
    }
    if (event === 'call.offer') {
      return [{ id: firstPresent(fieldOf(payload, 'call_id')), ...senderOf(payload), device, kind: 'event' }]
    }
    if (!KINDS.has(event)) return []
    const fromMe = isTrue(fieldOf(payload, 'is_from_me'))
    const person = fromMe ? partnerOf(payload, device) : senderOf(payload)
    const id = firstPresent(fieldOf(payload, 'id'))
    return [{ id, ...person, device, kind: kindOf(KINDS.get(event), fromMe) }]
  },
  reduce(body: unknown, kept: ReadonlySet<number>) {
    const ids = fieldAt(body, 'payload.ids')
    if (!Array.isArray(ids)) return body
    const payload = { ...(fieldOf(body, 'payload') as object), ids: ids.filter((_id, position) => kept.has(position)) }
    return { ...(body as object), payload }
  },
  isSigned: ({ headers, rawBody }: SignedDelivery, secret: string, _now: number) =>
    isHexHmacSha256(headers['x-hub-signature-256'], 'sha256=', rawBody, secret),
} satisfies Provider

function groupOf(payload: unknown): unknown {
  const chat = fieldOf(payload, 'chat_id')
  return isGroup(chat) ? chat : undefined
}

function senderOf(payload: unknown): Person {
  return personOf(fieldOf(payload, 'from'), fieldOf(payload, 'from_lid'), groupOf(payload))
}

/** Whom the bot wrote to: the chat, unless that is the bot itself, or a group. */
function partnerOf(payload: unknown, device: unknown): Person {
  const chat = fieldOf(payload, 'chat_id')
  if (isGroup(chat)) return { prospect: null, group: chat }
  return chat === device ? senderOf(payload) : personOf(chat, fieldOf(payload, 'chat_lid'))
}
