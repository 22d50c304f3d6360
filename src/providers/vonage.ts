/**
 * Vonage, two of its APIs; in both, one message or receipt a request.
 *
 * - SMS: by GET with everything in the query, or by POST as a form or JSON. `msisdn` is the person and `to` the
 *   bot's number, whoever sent the text.
 * - Messages (WhatsApp, Messenger, Viber, SMS): JSON by POST. `from` and `to` change places in a status.
 *
 * Signatures are not checked: an account chooses one of five schemes for them, and the request does not tell which.
 */
import { fieldOf, firstPresent, joinedId, queryOf } from './fields.ts'
import type { IncomingDelivery, Provider, ReadMessage } from './provider.ts'

/** Vonage redelivers for a day whatever was not answered 200 or 204. */
export const vonage = {
  name: 'vonage',
  redelivers: true,
  methods: ['GET', 'POST'],
  recognises(delivery: IncomingDelivery) {
    const fields = fieldsOf(delivery)
    return hasAll(fields, NAMES) ? isReceipt(fields) || TYPES.includes(fieldOf(fields, 'type')) : isOfMessages(delivery)
  },
  read(delivery: IncomingDelivery): ReadMessage[] {
    if (isOfMessages(delivery)) return [readMessages(delivery.body)]
    const fields = fieldsOf(delivery)
    const id = firstPresent(fieldOf(fields, 'messageId'))
    const [prospect, device] = [firstPresent(fieldOf(fields, 'msisdn')), firstPresent(fieldOf(fields, 'to'))]
    if (!isReceipt(fields)) return [{ id, prospect, device, kind: 'message' }]
    return [{ id: joinedId(id, firstPresent(fieldOf(fields, 'status'))), prospect, device, kind: 'status' }]
  },
} satisfies Provider

/** Hyphens and capitals as Vonage has them: together they are nobody else's. */
const NAMES: readonly string[] = ['msisdn', 'to', 'messageId', 'message-timestamp']

const TYPES: readonly unknown[] = ['text', 'unicode', 'binary']

function hasAll(fields: unknown, names: readonly string[]): boolean {
  return names.every((name) => firstPresent(fieldOf(fields, name)) !== null)
}

function isReceipt(fields: unknown): boolean {
  return firstPresent(fieldOf(fields, 'status')) !== null
}

/** The channel stands in the body, or in version 0.1 as the type of either party. */
function isOfMessages({ method, body }: IncomingDelivery): boolean {
  if (method === 'GET' || !hasAll(body, ['message_uuid', 'from', 'to', 'timestamp'])) return false
  const channel = firstPresent(fieldOf(body, 'channel'), fieldOf(fieldOf(body, 'to'), 'type'))
  const isMessage = ['message_type', 'message'].some((name) => fieldOf(body, name) !== undefined)
  return typeof channel === 'string' && (isMessage || isReceipt(body))
}

function readMessages(body: unknown): ReadMessage {
  const id = firstPresent(fieldOf(body, 'message_uuid'))
  const [from, to] = [partyIn(fieldOf(body, 'from')), partyIn(fieldOf(body, 'to'))]
  if (isReceipt(body)) {
    return { id: joinedId(id, firstPresent(fieldOf(body, 'status'))), prospect: to, device: from, kind: 'status' }
  }
  const isReaction = fieldOf(body, 'message_type') === 'reaction'
  return { id, prospect: from, device: to, kind: isReaction ? 'reaction' : 'message' }
}

/** A number or an id; in version 0.1 inside of an object. */
function partyIn(party: unknown): unknown {
  if (typeof party !== 'object') return firstPresent(party)
  return firstPresent(fieldOf(party, 'number'), fieldOf(party, 'id'))
}

function fieldsOf({ method, url, body }: IncomingDelivery): unknown {
  return method === 'GET' ? Object.fromEntries(queryOf(url)) : body
}
