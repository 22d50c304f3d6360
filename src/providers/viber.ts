/**
 * Viber: one event a POST. `message_token` is a number beyond what JavaScript's hold, so it is read from the
 * body's text. A receipt repeats the token of the message that it is about.
 */
import { fieldOf, firstPresent, headerOf, joinedId, plainFieldsOf } from './fields.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { isHexHmacSha256 } from './signature.ts'

/** Viber redelivers for an hour. The answer to `conversation_started` is the welcome message. */
export const viber = {
  name: 'viber',
  redelivers: true,
  replays: ({ body }: IncomingDelivery) => fieldOf(body, 'event') === 'conversation_started',
  recognises: ({ body }: IncomingDelivery) =>
    KINDS.has(fieldOf(body, 'event')) &&
    firstPresent(fieldOf(body, 'message_token')) !== null &&
    typeof fieldOf(body, 'timestamp') === 'number',
  read(delivery: IncomingDelivery): ReadMessage[] {
    const { body } = delivery
    const event = fieldOf(body, 'event')
    const kind = KINDS.get(event)
    // The check of a webhook that has just been set is about nobody.
    if (!kind || event === 'webhook') return []
    const people = [fieldOf(body, 'sender'), fieldOf(body, 'user')].map((person) => fieldOf(person, 'id'))
    const token = tokenOf(delivery)
    const id = token !== null && kind === 'status' ? joinedId(token, event) : token
    return [
      {
        id,
        prospect: firstPresent(...people, fieldOf(body, 'user_id')),
        device: null,
        kind,
        ...(id === null ? { content: [...plainFieldsOf(body), ...plainFieldsOf(fieldOf(body, 'message'))] } : {}),
      },
    ]
  },
  isSigned: (delivery: SignedDelivery, secret: string, _now: number) =>
    isHexHmacSha256(headerOf(delivery, 'x-viber-content-signature'), '', delivery.rawBody, secret),
} satisfies Provider

const KINDS: ReadonlyMap<unknown, MessageKind> = new Map([
  ['message', 'message'],
  ['delivered', 'status'],
  ['seen', 'status'],
  ['failed', 'status'],
  ['conversation_started', 'event'],
  ['subscribed', 'event'],
  ['unsubscribed', 'event'],
  ['client_status', 'event'],
  ['webhook', 'event'],
])

/** Parsing has rounded a large token, and two of them may have become one: without the text it is no id. */
function tokenOf({ body, rawBody }: IncomingDelivery): unknown {
  const token = fieldOf(body, 'message_token')
  if (typeof token !== 'number' || !Number.isInteger(token)) return firstPresent(token)
  if (Number.isSafeInteger(token)) return firstPresent(String(token))
  const text = rawBody === undefined ? '' : Buffer.from(rawBody).toString('utf8')
  const written = [...text.matchAll(TOKEN)].map(([, digits]) => digits).filter((digits) => Number(digits) === token)
  return new Set(written).size === 1 ? written[0] : null
}

/** Inside of a text, the quotes around the name would be escaped. */
const TOKEN = /"message_token"\s{0,99}:\s{0,99}(\d{1,20})(?![\d.eE])/g
