/**
 * Whapi.Cloud. One POST carries lists: new messages, statuses, changes and removals.
 *
 * - `from` is the bare number and `chat_id` a full name; an echo's prospect is spelt as `from` would be.
 * - A change repeats the id of the action that caused it, which is a message of its own.
 */
import { fieldAt, fieldOf, firstPresent, listOf, MAX_MESSAGES } from './fields.ts'
import { hasObject, hasTexts, isGroup, isTrue, joined, kindOf, type Person, personOf, reduceLists } from './gateways.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage } from './provider.ts'

const LISTS: ReadonlyArray<readonly [string, (item: unknown, device: unknown) => ReadMessage]> = [
  ['messages', readMessage],
  ['messages_updates', readUpdate],
  ['messages_removed', readRemoved],
  ['statuses', readStatus],
]

/** Nobody has said that Whapi posts a delivery again. */
export const whapi = {
  name: 'whapi',
  redelivers: false,
  recognises: ({ body }: IncomingDelivery) =>
    hasTexts(body, 'channel_id') && hasObject(body, 'event') && hasTexts(fieldOf(body, 'event'), 'type', 'event'),
  read({ body }: IncomingDelivery): ReadMessage[] {
    const device = firstPresent(fieldOf(body, 'channel_id'))
    const size = LISTS.reduce((sum, [name]) => sum + listOf(body, name).length, 0)
    if (size > MAX_MESSAGES) return []
    return LISTS.flatMap(([name, readItem]) => listOf(body, name).map((item) => readItem(item, device)))
  },
  reduce: (body: unknown, kept: ReadonlySet<number>) =>
    reduceLists(
      body,
      LISTS.map(([name]) => name),
      kept,
    ),
} satisfies Provider

const ACTIONS: ReadonlyMap<unknown, MessageKind> = new Map([
  ['reaction', 'reaction'],
  ['edit', 'edit'],
  ['edited', 'edit'],
  ['delete', 'delete'],
  ['vote', 'callback'],
])

function readMessage(item: unknown, device: unknown): ReadMessage {
  const kind = kindOf(ACTIONS.get(fieldAt(item, 'action.type')), isTrue(fieldOf(item, 'from_me')))
  return { id: firstPresent(fieldOf(item, 'id')), ...personIn(item), device, kind }
}

function personIn(item: unknown): Person {
  const chat = fieldOf(item, 'chat_id')
  const fromMe = isTrue(fieldOf(item, 'from_me'))
  if (!isGroup(chat)) return { prospect: firstPresent(fromMe ? bare(chat) : fieldOf(item, 'from'), bare(chat)) }
  return fromMe ? { prospect: null, group: chat } : personOf(fieldOf(item, 'from'), null, chat)
}

/** `15550001@s.whatsapp.net` as `15550001`; a LID stays whole. */
function bare(name: unknown): unknown {
  const server = '@s.whatsapp.net'
  return typeof name === 'string' && name.endsWith(server) ? name.slice(0, -server.length) : name
}

function readUpdate(item: unknown, device: unknown): ReadMessage {
  const trigger = fieldOf(item, 'trigger')
  const message = hasObject(item, 'after_update') ? fieldOf(item, 'after_update') : fieldOf(item, 'before_update')
  const kind = ACTIONS.get(fieldAt(trigger, 'action.type')) ?? 'event'
  return { id: joined(fieldOf(trigger, 'id'), 'update'), ...personIn(trigger ?? message), device, kind }
}

function readRemoved(item: unknown, device: unknown): ReadMessage {
  const id = typeof item === 'object' && item !== null ? fieldOf(item, 'id') : item
  return { id: joined(id, 'deleted'), prospect: null, device, kind: 'delete' }
}

/** In a group each reader has a status of their own. */
function readStatus(item: unknown, device: unknown): ReadMessage {
  const recipient = fieldOf(item, 'recipient_id')
  const viewer = isGroup(recipient) ? firstPresent(fieldOf(item, 'viewer_id')) : null
  const person = isGroup(recipient) ? personOf(viewer, null, recipient) : { prospect: firstPresent(bare(recipient)) }
  return { id: joined(fieldOf(item, 'id'), fieldOf(item, 'status'), viewer), ...person, device, kind: 'status' }
}
