/**
 * Chatwoot: one event a POST. Ids are whole numbers, of a conversation within its account and of an inbox; the
 * session is the conversation, whichever contact or agent writes.
 *
 * Newer versions give each delivery an id in a header. Without it only what happens once has an id (a message is
 * created once, and updated often): the rest is told apart by its content.
 */
import { fieldOf, firstPresent, headerOf, idText } from './fields.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { equalsSecretly, hmacSha256, isSignedLately } from './signature.ts'

/** Chatwoot waits for five seconds and does not deliver again. */
export const chatwoot = {
  name: 'chatwoot',
  redelivers: false,
  deadlineMs: 5000,
  recognises({ body }: IncomingDelivery) {
    const shape = SHAPES.get(fieldOf(body, 'event'))
    return shape?.every((name) => firstPresent(fieldOf(body, name)) !== null) ?? false
  },
  read(delivery: IncomingDelivery): ReadMessage[] {
    const { body } = delivery
    const conversation = conversationOf(body)
    const inbox = fieldOf(fieldOf(body, 'inbox'), 'id')
    const inboxes = [inbox, fieldOf(conversation, 'inbox_id'), fieldOf(body, 'inbox_id')].map(idText)
    const id = idOf(delivery)
    return [
      {
        id,
        prospect: firstPresent(...['id', 'display_id'].map((name) => idText(fieldOf(conversation, name)))),
        device: firstPresent(...inboxes),
        kind: kindOf(body),
        ...(id === null ? { content: body } : {}),
      },
    ]
  },
  isSigned(delivery: SignedDelivery, secret: string, now: number) {
    const time = headerOf(delivery, 'x-chatwoot-timestamp')
    const signature = headerOf(delivery, 'x-chatwoot-signature')
    if (signature === undefined || !isSignedLately(time, now)) return false
    return equalsSecretly(signature, `sha256=${hmacSha256(secret, `${time}.`, delivery.rawBody).toString('hex')}`)
  },
} satisfies Provider

/** Which events there are, and what a body of each is sure to hold. */
const SHAPES: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['message_created', ['id', 'message_type', 'conversation']],
  ['message_updated', ['id', 'message_type', 'conversation']],
  ['conversation_created', ['id', 'inbox_id']],
  ['conversation_updated', ['id', 'inbox_id']],
  ['conversation_status_changed', ['id', 'inbox_id']],
  ['conversation_typing_on', ['conversation', 'user']],
  ['conversation_typing_off', ['conversation', 'user']],
  ['contact_created', ['id', 'account']],
  ['contact_updated', ['id', 'account']],
  ['webwidget_triggered', ['id', 'contact', 'inbox']],
])

const INCOMING: readonly unknown[] = ['incoming', 0]

function kindOf(body: unknown): MessageKind {
  const event = fieldOf(body, 'event')
  const isIncoming = INCOMING.includes(fieldOf(body, 'message_type'))
  if (event === 'message_created') return isIncoming ? 'message' : 'echo'
  // What is updated of a message of the bot's own is whether it has arrived.
  if (event === 'message_updated') return isIncoming ? 'edit' : 'status'
  return typeof event === 'string' && event.startsWith('conversation_typing') ? 'status' : 'event'
}

/** A conversation's own event is the conversation. */
function conversationOf(body: unknown): unknown {
  const event = fieldOf(body, 'event')
  const isOwn = typeof event === 'string' && event.startsWith('conversation_') && !event.includes('typing')
  return isOwn ? body : (fieldOf(body, 'conversation') ?? fieldOf(body, 'current_conversation'))
}

function idOf(delivery: IncomingDelivery): unknown {
  const header = firstPresent(headerOf(delivery, 'x-chatwoot-delivery'))
  if (header !== null) return header
  const event = fieldOf(delivery.body, 'event')
  if (typeof event !== 'string' || !event.endsWith('_created')) return null
  const id = firstPresent(idText(fieldOf(delivery.body, 'id')))
  return typeof id === 'string' ? `${event}:${id}` : id
}
