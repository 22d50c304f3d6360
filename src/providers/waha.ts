/**
 * WAHA. One WhatsApp message can come as two deliveries, `false_15550001@c.us_3EB0A1` and
 * `false_98765@lid_3EB0A1`: only the native id (`3EB0A1`) is the same, so that is the message's id. A group's
 * ids have the participant behind it. `message` and `message.any` bring the same message, too.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { fieldAt, fieldOf, firstPresent, idText } from './fields.ts'
import {
  contentOf,
  has,
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

/** WAHA tries as often as it is told to: fifteen times, two seconds apart, in its documents. */
export const waha = {
  name: 'waha',
  redelivers: true,
  twins: true,
  recognises({ body }: IncomingDelivery) {
    if (!hasTexts(body, 'event', 'session') || !hasObject(body, 'payload') || has(body, 'device_id')) return false
    return hasTexts(body, 'engine') || hasObject(body, 'environment') || isNative(fieldAt(body, 'payload.id'))
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const event = fieldOf(body, 'event')
    const reader = READERS.get(event)
    if (reader === undefined) return []
    const device = firstPresent(fieldOf(body, 'session'))
    return [{ ...reader(fieldOf(body, 'payload'), event as string), device }]
  },
  isSigned({ headers, rawBody }: SignedDelivery, secret: string, _now: number) {
    const header = headers['x-webhook-hmac']
    if (typeof header !== 'string' || !/^[0-9a-f]{128}$/i.test(header)) return false
    return timingSafeEqual(Buffer.from(header, 'hex'), createHmac('sha512', secret).update(rawBody).digest())
  },
} satisfies Provider

type Reader = (payload: unknown, event: string) => Omit<ReadMessage, 'device'>

const READERS: ReadonlyMap<unknown, Reader> = new Map<string, Reader>([
  ['message', (payload) => readMessage(payload, undefined)],
  ['message.any', (payload) => readMessage(payload, undefined)],
  ['message.reaction', (payload) => readMessage(payload, 'reaction')],
  ['message.edited', readEdit],
  ['message.revoked', readRevoked],
  ['message.waiting', readWaiting],
  ['message.ack', readAck],
  ['message.ack.group', readAck],
  ['poll.vote', readVote],
  ['event.response', (payload) => readMessage(payload, 'callback')],
  ['call.received', readCall],
  ['call.accepted', readCall],
  ['call.rejected', readCall],
])

function isNative(id: unknown): boolean {
  return typeof id === 'string' && (id.startsWith('true_') || id.startsWith('false_'))
}

/** The parts of `{fromMe}_{chat}_{ID}` and `{fromMe}_{chat}_{ID}_{participant}`; any other id is taken whole. */
function partsOf(id: unknown): { readonly native: unknown; readonly chat?: string; readonly participant?: string } {
  if (!isNative(id)) return { native: firstPresent(id) }
  const [, chat, native, participant] = (id as string).split('_', 4)
  return { native: firstPresent(native), ...(chat && { chat }), ...(participant?.includes('@') && { participant }) }
}

function readMessage(payload: unknown, kind: MessageKind | undefined): Omit<ReadMessage, 'device'> {
  const { native } = partsOf(fieldOf(payload, 'id'))
  return { id: native, ...personIn(payload), kind: kindOf(kind, isTrue(fieldOf(payload, 'fromMe'))) }
}

/** The chat as the id names it: `from` and `to` mean different things where the bot itself wrote. */
function personIn(payload: unknown): Person {
  const { chat, participant: inId } = partsOf(fieldOf(payload, 'id'))
  const fromMe = isTrue(fieldOf(payload, 'fromMe'))
  const from = fieldOf(payload, 'from')
  const group = [chat, from, fieldOf(payload, 'to')].find(isGroup)
  if (group === undefined) {
    return personOf(fromMe ? firstPresent(chat, fieldOf(payload, 'to')) : from, alternativeIn(payload))
  }
  // Stories name the person in their id alone, and votes in `from`, where else the group stands.
  const named = [fieldOf(payload, 'participant'), fieldOf(payload, 'author'), inId, isGroup(from) ? null : from]
  const participant = firstPresent(...named)
  return fromMe ? { prospect: null, group } : personOf(participant, alternativeIn(payload), group)
}

/** Where the engines put the sender's other name, and the other name of whom the bot wrote to. */
const SENDERS = [
  '_data.key.participantAlt',
  '_data.key.remoteJidAlt',
  '_data.key.participantPn',
  '_data.key.senderPn',
  '_data.Info.SenderAlt',
]
const RECIPIENTS = ['_data.key.remoteJidAlt', '_data.Info.RecipientAlt']

/** The engine's other name of the person, spelt as WAHA spells people: `15550001@c.us`. */
function alternativeIn(payload: unknown): unknown {
  const paths = isTrue(fieldOf(payload, 'fromMe')) ? RECIPIENTS : SENDERS
  const name = firstPresent(...paths.map((path) => fieldAt(payload, path)))
  if (typeof name !== 'string' || isGroup(name)) return null
  const at = name.indexOf('@')
  if (at < 0) return null
  const server = name.slice(at) === '@s.whatsapp.net' ? '@c.us' : name.slice(at)
  return `${name.slice(0, at).split(':', 1)[0]}${server}`
}

/** In a group each participant acknowledges on their own, which only the participant tells apart. */
function readAck(payload: unknown): Omit<ReadMessage, 'device'> {
  const { native, chat } = partsOf(fieldOf(payload, 'id'))
  const status = firstPresent(fieldOf(payload, 'ackName'), idText(fieldOf(payload, 'ack')))
  const group = [chat, fieldOf(payload, 'from')].find(isGroup)
  const participant = group === undefined ? null : firstPresent(fieldOf(payload, 'participant'))
  const person =
    group === undefined
      ? personOf(firstPresent(chat, fieldOf(payload, 'from')), alternativeIn(payload))
      : personOf(participant, null, group)
  return { id: joined(native, status, participant), ...person, kind: 'status' }
}

/** An edit has an id of its own, unless the engine repeats its target's. */
function readEdit(payload: unknown): Omit<ReadMessage, 'device'> {
  const message = readMessage(payload, 'edit')
  const target = partsOf(fieldOf(payload, 'editedMessageId')).native
  if (target !== null && target !== message.id) return message
  return { ...message, id: null, content: contentOf('edited', message.id, bodyOf(payload)) }
}

function bodyOf(payload: unknown): unknown {
  return firstPresent(fieldOf(payload, 'body'), fieldOf(payload, 'newBody'))
}

function readRevoked(payload: unknown): Omit<ReadMessage, 'device'> {
  const before = hasObject(payload, 'before') ? fieldOf(payload, 'before') : fieldOf(payload, 'after')
  const target = firstPresent(fieldOf(payload, 'revokedMessageId'), fieldOf(before, 'id'))
  return { id: joined(partsOf(target).native, 'deleted'), ...personIn(before), kind: 'delete' }
}

/** A message that cannot be decrypted yet comes again, readable, under the same id. */
function readWaiting(payload: unknown): Omit<ReadMessage, 'device'> {
  const message = readMessage(payload, 'event')
  return { ...message, id: joined(message.id, 'waiting') }
}

function readVote(payload: unknown): Omit<ReadMessage, 'device'> {
  return readMessage(fieldOf(payload, 'vote'), 'callback')
}

function readCall(payload: unknown, event: string): Omit<ReadMessage, 'device'> {
  return { id: joined(fieldOf(payload, 'id'), event), prospect: firstPresent(fieldOf(payload, 'from')), kind: 'event' }
}
