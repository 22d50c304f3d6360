/**
 * 360dialog's old shape, that of the on-premise WhatsApp Business API: messages and statuses at the top,
 * without `object` and `entry`, and without the bot's number. New numbers there speak the Cloud API.
 */
import { fieldOf, firstPresent, listOf } from './fields.ts'
import { has, hasTexts, joined, type Person, personOf, reduceLists } from './gateways.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage } from './provider.ts'

/** Fields that say that somebody else wrote the body. */
const FOREIGN = ['object', 'entry', 'event', 'channel_id', 'channel', 'messaging_product', 'metadata']

/** What was not answered 200 comes again for up to seven days. */
export const dialog360 = {
  name: '360dialog',
  redelivers: true,
  recognises({ body }: IncomingDelivery) {
    if (FOREIGN.some((name) => has(body, name))) return false
    const [message] = listOf(body, 'messages')
    if (message !== undefined) return hasTexts(message, 'id', 'from', 'timestamp', 'type') && isKnown(body, message)
    const [status] = listOf(body, 'statuses')
    return hasTexts(status, 'id', 'status', 'timestamp')
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    return [...listOf(body, 'messages').map(readMessage), ...listOf(body, 'statuses').map(readStatus)]
  },
  reduce: (body: unknown, kept: ReadonlySet<number>) => reduceLists(body, ['messages', 'statuses'], kept),
} satisfies Provider

/** Whoever wrote stands among the contacts, too; a change of number has none. */
function isKnown(body: unknown, message: unknown): boolean {
  const [contact] = listOf(body, 'contacts')
  return hasTexts(contact, 'wa_id') || has(message, 'system')
}

const KINDS: ReadonlyMap<unknown, MessageKind> = new Map([
  ['reaction', 'reaction'],
  ['system', 'system'],
])

function readMessage(item: unknown): ReadMessage {
  const group = fieldOf(item, 'group_id')
  const person: Person = personOf(fieldOf(item, 'from'), null, group)
  const kind = KINDS.get(fieldOf(item, 'type')) ?? 'message'
  return { id: firstPresent(fieldOf(item, 'id')), ...person, device: null, kind }
}

function readStatus(item: unknown): ReadMessage {
  const prospect = firstPresent(fieldOf(item, 'recipient_id'), fieldOf(fieldOf(item, 'message'), 'recipient_id'))
  return { id: joined(fieldOf(item, 'id'), fieldOf(item, 'status')), prospect, device: null, kind: 'status' }
}
