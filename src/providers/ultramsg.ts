/** UltraMsg. The top-level `id` is empty; the message's stands in `data`. */
import { fieldOf, firstPresent, idText } from './fields.ts'
import { hasObject, hasTexts, isGroup, isTrue, joined, kindOf, type Person, personOf } from './gateways.ts'
import type { IncomingDelivery, Provider, ReadMessage } from './provider.ts'

const EVENTS: ReadonlySet<unknown> = new Set(['message_received', 'message_create', 'message_ack', 'message_reaction'])

/** Nobody has said that UltraMsg posts a delivery again. */
export const ultramsg = {
  name: 'ultramsg',
  redelivers: false,
  recognises: ({ body }: IncomingDelivery) =>
    EVENTS.has(fieldOf(body, 'event_type')) &&
    firstPresent(fieldOf(body, 'instanceId')) !== null &&
    hasObject(body, 'data') &&
    hasTexts(fieldOf(body, 'data'), 'from'),
  read({ body }: IncomingDelivery): ReadMessage[] {
    const event = fieldOf(body, 'event_type')
    const data = fieldOf(body, 'data')
    const device = firstPresent(idText(fieldOf(body, 'instanceId')))
    const id = firstPresent(fieldOf(data, 'id'))
    const person = personIn(data)
    if (event === 'message_ack') {
      return [{ id: joined(id, idText(fieldOf(data, 'ack'))), ...person, device, kind: 'status' }]
    }
    // The id may be the target's, and a reaction can be taken back and given again: then only the time differs.
    if (event === 'message_reaction') {
      const parts = [fieldOf(data, 'reaction'), idText(fieldOf(data, 'time'))]
      return [{ id: joined(id, 'reaction', ...parts), ...person, device, kind: 'reaction' }]
    }
    return [{ id, ...person, device, kind: kindOf(undefined, isTrue(fieldOf(data, 'fromMe'))) }]
  },
} satisfies Provider

/** In a group the author is the person; what the bot itself wrote there is the whole group's. */
function personIn(data: unknown): Person {
  const fromMe = isTrue(fieldOf(data, 'fromMe'))
  const chat = fieldOf(data, fromMe ? 'to' : 'from')
  if (!isGroup(chat)) return { prospect: firstPresent(chat) }
  return fromMe ? { prospect: null, group: chat } : personOf(fieldOf(data, 'author'), null, chat)
}
