/**
 * Microsoft Teams (Bot Framework): one activity a POST.
 *
 * - An edit, a deletion and a reaction carry the id of the message they are about: only the time tells them apart.
 * - A message's id is the millisecond it was written in: another conversation can have the same.
 * - An invoke (a card's button, a search) that was answered late comes again with a new id, so its id is none.
 * - Before Microsoft Graph tells of changes it asks, by a token in the query, whether the endpoint is ours. Nothing
 *   else tells whose POST that is: it is answered where this provider was named.
 * - Deliveries carry a JWT, whose keys change and must be fetched: check it with Microsoft's own middleware.
 */
import { fieldOf, firstPresent, joinedId, listOf, queryOf } from './fields.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage } from './provider.ts'

/** Teams waits for fifteen seconds. The answer to an invoke is what the person gets to see. */
export const teams = {
  name: 'teams',
  redelivers: true,
  deadlineMs: 15_000,
  replays: ({ body }: IncomingDelivery) => fieldOf(body, 'type') === 'invoke',
  recognises: ({ body }: IncomingDelivery) =>
    fieldOf(body, 'channelId') === 'msteams' &&
    typeof fieldOf(body, 'type') === 'string' &&
    typeof fieldOf(body, 'serviceUrl') === 'string' &&
    ['conversation', 'recipient'].every((name) => typeof fieldOf(body, name) === 'object'),
  read({ body }: IncomingDelivery): ReadMessage[] {
    const id = idOf(body)
    const prospect = firstPresent(fieldOf(fieldOf(body, 'from'), 'id'))
    const group = firstPresent(fieldOf(fieldOf(body, 'conversation'), 'id'))
    return [
      {
        id,
        prospect,
        device: firstPresent(fieldOf(fieldOf(body, 'recipient'), 'id')),
        kind: kindOf(body),
        ...(prospect === null && group !== null ? { group } : {}),
        ...(id === null ? { content: contentOf(body) } : group === null ? {} : { within: group }),
      },
    ]
  },
  handshake({ method, url }: IncomingDelivery) {
    if (method !== 'POST') return undefined
    const token = queryOf(url).get('validationToken')
    return token === null ? undefined : { status: 200, body: token }
  },
} satisfies Provider

const KINDS: ReadonlyMap<unknown, MessageKind> = new Map([
  ['message', 'message'],
  ['invoke', 'callback'],
  ['messageUpdate', 'edit'],
  ['messageDelete', 'delete'],
  ['messageReaction', 'reaction'],
])

function kindOf(body: unknown): MessageKind {
  const type = fieldOf(body, 'type')
  const isReceipt = type === 'event' && fieldOf(body, 'name') === 'application/vnd.microsoft.readReceipt'
  if (isReceipt) return 'status'
  const hasText = firstPresent(fieldOf(body, 'text')) !== null
  const value = fieldOf(body, 'value')
  // A card's button that posts back comes as a message without words.
  if (type === 'message' && !hasText && typeof value === 'object' && value !== null) return 'callback'
  return KINDS.get(type) ?? 'event'
}

function idOf(body: unknown): unknown {
  const id = firstPresent(fieldOf(body, 'id'))
  const type = fieldOf(body, 'type')
  if (id === null || type === 'invoke') return null
  if (type !== 'messageUpdate' && type !== 'messageDelete' && type !== 'messageReaction') return id
  const time = firstPresent(fieldOf(body, 'timestamp'))
  if (time === null) return null
  const reactions = [...reactionsOf(body, 'reactionsAdded', '+'), ...reactionsOf(body, 'reactionsRemoved', '-')]
  return joinedId(id, type, ...reactions, time)
}

function reactionsOf(body: unknown, list: string, sign: string): unknown[] {
  return listOf(body, list).map((reaction) => {
    const type = fieldOf(reaction, 'type') ?? null
    return typeof type === 'string' ? sign + type : type
  })
}

/**
 * Not the id, nor the times, which a repeated invoke may have anew: what was asked for, and on which card. All of it,
 * as two clicks may differ in the depth of a card's data only; nested deeper than can be written down, it is none.
 */
function contentOf(body: unknown): unknown {
  const asked = ['type', 'name', 'text', 'replyToId', 'value'].map((name) => fieldOf(body, name))
  try {
    return JSON.stringify(asked)
  } catch {
    return null
  }
}
