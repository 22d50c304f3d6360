/**
 * Wablas, by form or JSON. `phone` is the customer, `sender` the bot's own number. The text of the answer is
 * sent to the customer, so a duplicate gets an empty one, never the first reply again.
 */
import { fieldAt, fieldOf, firstPresent, idText } from './fields.ts'
import { has, hasTexts, isTrue, joined, kindOf, type Person, personOf } from './gateways.ts'
import type { IncomingDelivery, Provider, ReadMessage } from './provider.ts'

/** Nobody has seen Wablas post a delivery again. */
export const wablas = {
  name: 'wablas',
  redelivers: false,
  recognises({ body }: IncomingDelivery) {
    if (!hasTexts(body, 'id', 'phone') || has(body, 'device') || has(body, 'event')) return false
    if (isTracking(body)) return hasTexts(body, 'deviceId')
    const isNamed = has(body, 'pushName') || has(body, 'isGroup')
    return has(body, 'message') && isNamed && (hasTexts(body, 'deviceId') || hasTexts(body, 'sender'))
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const id = fieldOf(body, 'id')
    const device = firstPresent(fieldOf(body, 'deviceId'))
    if (isTracking(body)) {
      return [{ id: joined(id, idText(fieldOf(body, 'status'))), ...personIn(body), device, kind: 'status' }]
    }
    const kind = kindOf(undefined, isTrue(fieldOf(body, 'isFromMe')))
    return [{ id: firstPresent(id), ...personIn(body), device, kind }]
  },
} satisfies Provider

/** The tracking webhook tells what became of a message of the bot's. */
function isTracking(body: unknown): boolean {
  return has(body, 'status') && !has(body, 'pushName')
}

/** In a group `phone` is the group, and the member stands in `group.sender`. */
function personIn(body: unknown): Person {
  const phone = firstPresent(fieldOf(body, 'phone'))
  if (!isTrue(fieldOf(body, 'isGroup'))) return { prospect: phone }
  const group = firstPresent(fieldAt(body, 'group.group_id'), phone)
  return personOf(firstPresent(fieldAt(body, 'group.sender'), phone), null, group)
}
