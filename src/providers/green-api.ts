/**
 * GREEN-API. The instance is an integer, and becomes text. Edits and reactions have ids of their own. An id is one
 * chat's: on Telegram and MAX it is a time, and another chat has the same.
 */
import { fieldAt, fieldOf, firstPresent, idText } from './fields.ts'
import { hasBearer, hasObject, isGroup, joined, kindOf, type Person, personOf } from './gateways.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'

const KINDS: ReadonlyMap<unknown, MessageKind> = new Map([
  ['reactionMessage', 'reaction'],
  ['editedMessage', 'edit'],
  ['deletedMessage', 'delete'],
  ['pollUpdateMessage', 'callback'],
])

const OUTGOING: ReadonlySet<unknown> = new Set(['outgoingMessageReceived', 'outgoingAPIMessageReceived'])

/** GREEN-API waits three minutes, and posts again after one, for 24 hours. */
export const greenApi = {
  name: 'green-api',
  redelivers: true,
  deadlineMs: 180_000,
  recognises: ({ body }: IncomingDelivery) =>
    typeof fieldOf(body, 'typeWebhook') === 'string' &&
    hasObject(body, 'instanceData') &&
    firstPresent(fieldAt(body, 'instanceData.idInstance')) !== null,
  read({ body }: IncomingDelivery): ReadMessage[] {
    const type = fieldOf(body, 'typeWebhook')
    const id = firstPresent(fieldOf(body, 'idMessage'))
    const device = firstPresent(idText(fieldAt(body, 'instanceData.idInstance')))
    if (type === 'outgoingMessageStatus') {
      const chat = fieldOf(body, 'chatId')
      return [{ id: joined(id, fieldOf(body, 'status')), ...withinChat(chat), ...chatOf(chat), device, kind: 'status' }]
    }
    if (type === 'incomingCall') {
      const prospect = firstPresent(fieldOf(body, 'from'))
      return [{ id: joined(id, fieldOf(body, 'status')), prospect, device, kind: 'event' }]
    }
    const fromMe = OUTGOING.has(type)
    if (!fromMe && type !== 'incomingMessageReceived') return []
    const chat = fieldAt(body, 'senderData.chatId')
    const person = fromMe || !isShared(chat) ? chatOf(chat) : personOf(fieldAt(body, 'senderData.sender'), null, chat)
    const kind = kindOf(KINDS.get(fieldAt(body, 'messageData.typeMessage')), fromMe)
    return [{ id, ...withinChat(chat), ...person, device, kind }]
  },
  /** What the instance's settings hold as the webhook's token comes as `Authorization: Bearer <token>`. */
  isSigned: (delivery: SignedDelivery, secret: string, _now: number) => hasBearer(delivery, secret),
} satisfies Provider

/** On Telegram and MAX, groups and channels have negative numbers. */
function isShared(chat: unknown): boolean {
  return isGroup(chat) || (typeof chat === 'string' && /^-\d/.test(chat))
}

function withinChat(chat: unknown): Pick<ReadMessage, 'within'> {
  const within = firstPresent(chat)
  return within === null ? {} : { within }
}

function chatOf(chat: unknown): Person {
  return isShared(chat) ? { prospect: null, group: chat } : { prospect: firstPresent(chat) }
}
