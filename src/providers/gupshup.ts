/**
 * Gupshup, with its own format (version 2); its version 3 is the Cloud API's. The answer's body must be empty.
 * `message-event` repeats the message's id for each status.
 */
import { fieldAt, fieldOf, firstPresent } from './fields.ts'
import { contentOf, has, hasObject, hasTexts, joined, kindOf } from './gateways.ts'
import type { IncomingDelivery, Provider, ReadMessage } from './provider.ts'

/** Gupshup waits ten seconds for a 2xx, else posts again. */
export const gupshup = {
  name: 'gupshup',
  redelivers: true,
  deadlineMs: 10_000,
  recognises: ({ body }: IncomingDelivery) =>
    hasTexts(body, 'app', 'type') &&
    READERS.has(fieldOf(body, 'type')) &&
    hasObject(body, 'payload') &&
    has(body, 'timestamp') &&
    has(body, 'version'),
  read({ body }: IncomingDelivery): ReadMessage[] {
    const reader = READERS.get(fieldOf(body, 'type'))
    if (reader === undefined) return []
    return [{ ...reader(fieldOf(body, 'payload'), body), device: firstPresent(fieldOf(body, 'app')) }]
  },
} satisfies Provider

type Reader = (payload: unknown, body: unknown) => Omit<ReadMessage, 'device'>

const READERS: ReadonlyMap<unknown, Reader> = new Map([
  ['message', readMessage],
  ['message-event', readStatus],
  ['user-event', readUserEvent],
  ['billing-event', readBilling],
])

function readMessage(payload: unknown): Omit<ReadMessage, 'device'> {
  const kind = kindOf(fieldOf(payload, 'type') === 'reaction' ? 'reaction' : undefined, false)
  const prospect = firstPresent(fieldOf(payload, 'source'), fieldAt(payload, 'sender.phone'))
  return { id: firstPresent(fieldOf(payload, 'id')), prospect, kind }
}

function readStatus(payload: unknown): Omit<ReadMessage, 'device'> {
  const id = joined(fieldOf(payload, 'id'), fieldOf(payload, 'type'))
  return { id, prospect: firstPresent(fieldOf(payload, 'destination')), kind: 'status' }
}

/** Somebody opted in or out. */
function readUserEvent(payload: unknown, body: unknown): Omit<ReadMessage, 'device'> {
  const content = contentOf(fieldOf(payload, 'type'), fieldOf(body, 'timestamp'))
  return { id: null, prospect: firstPresent(fieldOf(payload, 'phone')), kind: 'event', content }
}

/** What a message cost is no part of the conversation. */
function readBilling(payload: unknown): Omit<ReadMessage, 'device'> {
  const references = fieldOf(payload, 'references')
  const id = firstPresent(fieldOf(references, 'id'), fieldOf(references, 'gsId'))
  return { id: joined(id, 'billing'), prospect: null, kind: 'event' }
}
