/**
 * Evolution API (v1 and v2).
 *
 * - The top-level `sender` is the bot's own number; the person is in the message's key.
 * - Deletions and edits carry the id of their target, so theirs is made of it. So do votes, which come as an update
 *   of their poll, all with the same status.
 * - History (`messages.set`), presence, contacts and the like hold no new message.
 */
import { fieldAt, fieldOf, firstPresent, idText, listOf } from './fields.ts'
import {
  contentOf,
  has,
  hasBearer,
  hasObject,
  hasTexts,
  isGroup,
  isTrue,
  joined,
  kindOf,
  type Person,
  personOf,
} from './gateways.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'

/** Evolution waits thirty seconds and tries ten times, but gives up on 400, 401, 403, 404 and 422. */
export const evolution = {
  name: 'evolution',
  redelivers: true,
  deadlineMs: 30_000,
  recognises({ body }: IncomingDelivery) {
    if (!hasTexts(body, 'event', 'instance') || !has(body, 'data') || has(body, 'payload')) return false
    const isEnvelope = hasTexts(body, 'server_url') || (hasTexts(body, 'date_time') && has(body, 'apikey'))
    return isEnvelope || hasTexts(fieldAt(body, 'data.key'), 'remoteJid', 'id')
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const reader = READERS.get(eventOf(body))
    if (reader === undefined || !hasObject(body, 'data')) return []
    return [{ ...reader(fieldOf(body, 'data'), body), device: firstPresent(fieldOf(body, 'instance')) }]
  },
  /** Evolution signs nothing, but can be told to send `Authorization: Bearer <secret>`. */
  isSigned: (delivery: SignedDelivery, secret: string, _now: number) => hasBearer(delivery, secret),
} satisfies Provider

type Reader = (data: unknown, body: unknown) => Omit<ReadMessage, 'device'>

const READERS: ReadonlyMap<string, Reader> = new Map([
  ['messages.upsert', readMessage],
  ['send.message', readMessage],
  ['messages.update', readUpdate],
  ['messages.delete', readDelete],
  ['messages.edited', readEdit],
  ['send.message.update', readEdit],
  ['call', readCall],
])

/** `MESSAGES_UPSERT` and `messages-upsert` are other spellings of `messages.upsert`. */
function eventOf(body: unknown): string {
  const event = fieldOf(body, 'event')
  return typeof event === 'string' ? event.toLowerCase().replaceAll(/[_-]/g, '.') : ''
}

function readMessage(data: unknown): Omit<ReadMessage, 'device'> {
  const key = fieldOf(data, 'key')
  const kind = kindOf(kindOfContent(data), isTrue(fieldOf(key, 'fromMe')))
  return { id: firstPresent(fieldOf(key, 'id')), ...personIn(key), kind }
}

function kindOfContent(data: unknown): MessageKind | undefined {
  const type = fieldOf(data, 'messageType')
  const message = fieldOf(data, 'message')
  if (type === 'reactionMessage' || has(message, 'reactionMessage')) return 'reaction'
  if (type === 'editedMessage' || has(message, 'editedMessage')) return 'edit'
  return undefined
}

/** In a group the participant is the person; what the bot itself wrote there is the whole group's. */
function personIn(key: unknown): Person {
  const chat = fieldOf(key, 'remoteJid')
  if (!isGroup(chat)) return personOf(chat, firstPresent(fieldOf(key, 'remoteJidAlt'), fieldOf(key, 'senderPn')))
  if (isTrue(fieldOf(key, 'fromMe'))) return { prospect: null, group: chat }
  const alternative = firstPresent(fieldOf(key, 'participantAlt'), fieldOf(key, 'participantPn'))
  return personOf(fieldOf(key, 'participant'), alternative, chat)
}

function readUpdate(data: unknown, body: unknown): Omit<ReadMessage, 'device'> {
  const key = hasObject(data, 'key') ? fieldOf(data, 'key') : data
  const id = firstPresent(fieldOf(data, 'keyId'), fieldOf(key, 'id'))
  const chat = fieldOf(key, 'remoteJid')
  const participant = isGroup(chat) ? firstPresent(fieldOf(key, 'participant')) : null
  const person = isGroup(chat)
    ? personOf(participant, fieldOf(key, 'participantAlt'), chat)
    : personOf(chat, fieldOf(key, 'remoteJidAlt'))
  if (listOf(data, 'pollUpdates').length > 0) {
    return { id: null, ...person, kind: 'callback', content: contentOf(joined(id, 'vote'), fieldOf(body, 'date_time')) }
  }
  const status = firstPresent(idText(fieldOf(data, 'status')), idText(fieldAt(data, 'update.status')))
  // The message's own id alone would be taken for the message.
  if (status === null) return { id: null, ...person, kind: 'status', content: contentOf(joined(id, 'update')) }
  return { id: joined(id, status, participant), ...person, kind: 'status' }
}

function readDelete(data: unknown): Omit<ReadMessage, 'device'> {
  const key = hasObject(data, 'key') ? fieldOf(data, 'key') : data
  return { id: joined(fieldOf(key, 'id'), 'deleted'), ...personIn(key), kind: 'delete' }
}

const PROTOCOL_KINDS: ReadonlyMap<unknown, MessageKind> = new Map<unknown, MessageKind>([
  ['REVOKE', 'delete'],
  [0, 'delete'],
  ['MESSAGE_EDIT', 'edit'],
  [14, 'edit'],
])

/**
 * A protocol message: its key is the target's, as the author sees it, so that the chat may be the bot's
 * own number. Then the body names no person.
 */
function readEdit(data: unknown, body: unknown): Omit<ReadMessage, 'device'> {
  const key = fieldOf(data, 'key')
  const kind = PROTOCOL_KINDS.get(fieldOf(data, 'type')) ?? (has(data, 'editedMessage') ? 'edit' : 'event')
  const target = fieldOf(key, 'id')
  const isOwn = fieldOf(key, 'remoteJid') === fieldOf(body, 'sender')
  const person = isOwn ? { prospect: null } : personIn(key)
  if (kind === 'delete') return { id: joined(target, 'deleted'), ...person, kind }
  const time = firstPresent(idText(fieldOf(data, 'timestampMs')))
  if (typeof time === 'string') return { id: joined(target, 'edited', time), ...person, kind }
  return { id: null, ...person, kind, content: contentOf('edited', target, fieldOf(body, 'date_time')) }
}

/** A call has one id from its offer to its end. */
function readCall(data: unknown): Omit<ReadMessage, 'device'> {
  const person = personOf(firstPresent(fieldOf(data, 'from'), fieldOf(data, 'chatId')), null)
  return { id: joined(fieldOf(data, 'id'), idText(fieldOf(data, 'status'))), ...person, kind: 'event' }
}
