/**
 * Vonage's SMS API: one message or delivery receipt a request, by GET with everything in the query, or by POST
 * as a form or JSON. In both, `msisdn` is the person and `to` the bot's number, whoever sent the text.
 *
 * Signatures are not checked: an account chooses one of five schemes for them, and the request does not tell which.
 */
import { fieldOf, firstPresent, joinedId } from './fields.ts'
import type { IncomingDelivery, Provider, ReadMessage } from './provider.ts'

/** Vonage redelivers for a day whatever was not answered 200 or 204. */
export const vonage = {
  name: 'vonage',
  redelivers: true,
  methods: ['GET', 'POST'],
  recognises(delivery: IncomingDelivery) {
    const fields = fieldsOf(delivery)
    const isWhole = NAMES.every((name) => firstPresent(fieldOf(fields, name)) !== null)
    return isWhole && (isReceipt(fields) || TYPES.includes(fieldOf(fields, 'type')))
  },
  read(delivery: IncomingDelivery): ReadMessage[] {
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

function isReceipt(fields: unknown): boolean {
  return firstPresent(fieldOf(fields, 'status')) !== null
}

function fieldsOf({ method, url, body }: IncomingDelivery): unknown {
  return method === 'GET' ? Object.fromEntries(queryOf(url)) : body
}

function queryOf(url: string): URLSearchParams {
  const mark = url.indexOf('?')
  return new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1))
}
