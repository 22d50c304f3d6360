/**
 * What Messenger and Instagram share: one POST carries events of several entries, each event with a sender and a
 * recipient.
 *
 * - Postbacks, reactions, edits and read marks carry the id of the message they are about, or none.
 * - An echo is the bot's own message: sender and recipient are swapped, the session is the same.
 * - `standby` holds what another app of the page answers.
 */
import { fieldOf, firstPresent, idText, joinedId, listOf, MAX_MESSAGES, plainFieldsOf } from './fields.ts'
import { metaHandshake } from './meta.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { isHexHmacSha256 } from './signature.ts'

/** Reads one item of an entry; undefined where it is about something else. */
type ReadItem = (item: unknown, entry: unknown) => ReadMessage | undefined

/** Where messages stand in an entry, in the order they are read and counted. */
export type EntryLists = ReadonlyArray<readonly [name: string, read: ReadItem]>

/** The lists that both have. */
export const MESSAGING_LISTS: EntryLists = [
  ['messaging', readMessaging],
  ['standby', readMessaging],
]

/** Meta waits for twenty seconds, and redelivers what was not answered 200. */
export function metaMessaging<Name extends string>(name: Name, object: string, lists: EntryLists) {
  return {
    name,
    redelivers: true,
    deadlineMs: 20_000,
    recognises: ({ body }: IncomingDelivery) =>
      fieldOf(body, 'object') === object && Array.isArray(fieldOf(body, 'entry')),
    read({ body }: IncomingDelivery) {
      const messages: ReadMessage[] = []
      for (const entry of listOf(body, 'entry')) {
        for (const [list, read] of lists) {
          for (const item of listOf(entry, list)) {
            const message = read(item, entry)
            if (message) messages.push(message)
          }
          if (messages.length > MAX_MESSAGES) return []
        }
      }
      return messages
    },
    reduce(body: unknown, kept: ReadonlySet<number>) {
      let position = 0
      const keep = () => kept.has(position++)
      const entries = listOf(body, 'entry').map((entry) => reduceEntry(entry, lists, keep))
      return { ...(body as object), entry: entries.filter((entry) => entry !== undefined) }
    },
    isSigned: ({ headers, rawBody }: SignedDelivery, secret: string, _now: number) =>
      isHexHmacSha256(headers['x-hub-signature-256'], 'sha256=', rawBody, secret),
    handshake: metaHandshake,
  } satisfies Provider
}

/** The entry as it is where it holds no messages; undefined where it held some and none is kept. */
function reduceEntry(entry: unknown, lists: EntryLists, keep: () => boolean): unknown {
  const copy: Record<string, unknown> = { ...(entry as object) }
  let had = 0
  let left = 0
  for (const [name, read] of lists) {
    const items = listOf(entry, name)
    const kept = items.filter((item) => read(item, entry) === undefined || keep())
    if (kept.length > 0) copy[name] = kept
    else delete copy[name]
    had += items.length
    left += kept.length
  }
  if (left === had) return entry
  return left === 0 ? undefined : copy
}

/** One event, of whatever kind: the field that is named for the kind holds what there is to say. */
export function readMessaging(item: unknown, entry: unknown): ReadMessage | undefined {
  const found = EVENTS.find(([name]) => typeof fieldOf(item, name) === 'object' && fieldOf(item, name) !== null)
  const { id, kind } = found ? found[1](fieldOf(item, found[0]), item) : { id: null, kind: 'event' as const }
  const sender = personOf(fieldOf(item, 'sender'))
  const recipient = personOf(fieldOf(item, 'recipient'))
  if (!found && sender === null && recipient === null) return undefined
  const isEcho = isTrue(fieldOf(fieldOf(item, 'message'), 'is_echo'))
  const [prospect, page] = isEcho ? [recipient, sender] : [sender, recipient]
  const device = firstPresent(page, fieldOf(entry, 'id'))
  return { id, prospect, device, kind, ...(id === null ? { content: contentOf(item) } : {}) }
}

/** `user_ref` stands for a person who has ticked a box on a web page and not written yet. */
function personOf(party: unknown): unknown {
  return firstPresent(fieldOf(party, 'id'), fieldOf(party, 'user_ref'))
}

/** Some gateways in between write booleans as text. */
function isTrue(value: unknown): boolean {
  return value === true || value === 'true'
}

type ReadEvent = (event: unknown, item: unknown) => { id: unknown; kind: MessageKind }

const EVENTS: ReadonlyArray<readonly [string, ReadEvent]> = [
  ['message', readMessage],
  ['message_edit', readEdit],
  ['reaction', readReaction],
  ['postback', (event) => ({ id: midOf(event), kind: 'callback' })],
  ['delivery', readReceipt('delivered')],
  ['read', readReceipt('read')],
]

function midOf(event: unknown): unknown {
  return firstPresent(fieldOf(event, 'mid'))
}

/** An id made of the message's; none where the message is not named. */
function idAbout(mid: unknown, ...parts: readonly unknown[]): unknown {
  return mid === null ? null : joinedId(mid, ...parts)
}

/** Taking a message back repeats its id. */
function readMessage(event: unknown): ReturnType<ReadEvent> {
  const mid = midOf(event)
  if (isTrue(fieldOf(event, 'is_deleted'))) return { id: idAbout(mid, 'deleted'), kind: 'delete' }
  return { id: mid, kind: isTrue(fieldOf(event, 'is_echo')) ? 'echo' : 'message' }
}

function readEdit(event: unknown): ReturnType<ReadEvent> {
  const count = fieldOf(event, 'num_edit') ?? null
  return { id: idAbout(midOf(event), 'edit', typeof count === 'number' ? String(count) : count), kind: 'edit' }
}

/** Who takes a reaction back may give the same again: only the time tells the two apart. */
function readReaction(event: unknown, item: unknown): ReturnType<ReadEvent> {
  const time = firstPresent(idText(fieldOf(item, 'timestamp')))
  const action = firstPresent(fieldOf(event, 'action'))
  const emoji = firstPresent(fieldOf(event, 'emoji'), fieldOf(event, 'reaction'))
  const id = time === null ? null : idAbout(midOf(event), 'reaction', action, emoji, time)
  return { id, kind: 'reaction' }
}

/** A receipt names the one message it is about, or several, or all up to a time. */
function readReceipt(status: string): ReadEvent {
  return (event) => {
    const mids = listOf(event, 'mids')
    const mid = mids.length === 1 ? firstPresent(mids[0]) : midOf(event)
    return { id: idAbout(mid, status), kind: 'status' }
  }
}

function contentOf(item: unknown): unknown[] {
  const events = Object.entries(item as object).filter(([name]) => name !== 'sender' && name !== 'recipient')
  return events.flatMap(([name, event]) => {
    if (typeof event !== 'object') return [name, event]
    return [name, ...plainFieldsOf(event), ...plainFieldsOf(fieldOf(event, 'mids'))]
  })
}
