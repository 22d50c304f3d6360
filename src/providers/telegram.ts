/**
 * Telegram: one update a POST, with an id of its own, also where it is about an older message (edits, reactions).
 * The update's one other field is named for what it is; kinds that are added later are read the same way.
 * The body does not say to which bot: the device comes from the route.
 */
import { fieldOf, firstPresent, headerOf, idText } from './fields.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { equalsSecretly } from './signature.ts'

/**
 * Telegram waits for a minute and holds the chat's next update until it is answered; what was refused comes again.
 * The answer's body may be a call of a method.
 */
export const telegram = {
  name: 'telegram',
  redelivers: true,
  deadlineMs: 60_000,
  replays: true,
  recognises: ({ body }: IncomingDelivery) =>
    typeof fieldOf(body, 'update_id') === 'number' && updateOf(body) !== undefined,
  read({ body }: IncomingDelivery): ReadMessage[] {
    const [name, update] = updateOf(body) ?? ['', undefined]
    const chat = fieldOf(update, 'chat') ?? fieldOf(fieldOf(update, 'message'), 'chat')
    const chatId = firstPresent(idText(fieldOf(chat, 'id')))
    const isPrivate = fieldOf(chat, 'type') === 'private'
    const author = authorOf(update)
    const prospect = isPrivate ? firstPresent(chatId, author) : author
    // In a chat of two, who is not the chat's person writes for the business that the bot serves.
    const isOwn = isPrivate && BUSINESS.includes(name) && author !== null && author !== chatId
    return [
      {
        id: firstPresent(idText(fieldOf(body, 'update_id'))),
        prospect,
        device: null,
        kind: isOwn && name === 'business_message' ? 'echo' : (KINDS.get(name) ?? 'event'),
        ...(isPrivate || chatId === null ? {} : { group: chatId }),
      },
    ]
  },
  isSigned(delivery: SignedDelivery, secret: string, _now: number) {
    const token = headerOf(delivery, 'x-telegram-bot-api-secret-token')
    return token !== undefined && equalsSecretly(token, secret)
  },
} satisfies Provider

const BUSINESS: readonly unknown[] = ['business_message', 'edited_business_message']

const KINDS: ReadonlyMap<string, MessageKind> = new Map([
  ['message', 'message'],
  ['channel_post', 'message'],
  ['business_message', 'message'],
  ['guest_message', 'message'],
  ['edited_message', 'edit'],
  ['edited_channel_post', 'edit'],
  ['edited_business_message', 'edit'],
  ['deleted_business_messages', 'delete'],
  ['message_reaction', 'reaction'],
  ['message_reaction_count', 'reaction'],
  ['callback_query', 'callback'],
])

function updateOf(body: unknown): readonly [string, unknown] | undefined {
  if (typeof body !== 'object' || body === null) return undefined
  const names = Object.keys(body)
  // An update has two fields: what has many is none, and is not searched for one.
  if (names.length > 20) return undefined
  for (const name of names) {
    const update = fieldOf(body, name)
    if (typeof update === 'object' && update !== null && !Array.isArray(update)) return [name, update]
  }
  return undefined
}

/** Who did it; in a reaction of somebody unnamed, the chat in whose name it was given. */
function authorOf(update: unknown): unknown {
  const boost = fieldOf(fieldOf(update, 'boost') ?? update, 'source')
  const people = [fieldOf(update, 'from'), fieldOf(update, 'user'), fieldOf(boost, 'user')]
  const chats = [fieldOf(update, 'actor_chat'), fieldOf(update, 'voter_chat')]
  return firstPresent(...[...people, ...chats].map((who) => idText(fieldOf(who, 'id'))))
}
