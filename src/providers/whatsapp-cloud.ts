/**
 * WhatsApp Cloud API (Meta). One POST carries up to a thousand updates, over several entries and changes.
 *
 * - A status repeats the id of the message it is about, so its id holds the status too. In a group each
 *   participant has a status of their own, which only the participant tells apart.
 * - `from` and `recipient_id` are absent for people who hide their number; a business-scoped user id
 *   (`from_user_id`, `recipient_user_id`) stands in its place. Where both are there, they are two names of one person.
 * - Reactions, edits and revocations have ids of their own.
 * - The steps of a call repeat its id, and wait for nobody: a caller hangs up sooner than a slow reply is done.
 */
import { fieldOf, firstPresent, joinedId, listOf, MAX_MESSAGES } from './fields.ts'
import { metaHandshake } from './meta.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { isHexHmacSha256 } from './signature.ts'

/** Meta redelivers whatever was not answered 200, for up to seven days. */
export const whatsappCloud = {
  name: 'whatsapp-cloud',
  redelivers: true,
  recognises: ({ body }: IncomingDelivery) =>
    fieldOf(body, 'object') === 'whatsapp_business_account' && Array.isArray(fieldOf(body, 'entry')),
  read({ body }: IncomingDelivery) {
    const messages: ReadMessage[] = []
    for (const entry of listOf(body, 'entry')) {
      for (const change of listOf(entry, 'changes')) {
        const value = fieldOf(change, 'value')
        const device = firstPresent(fieldOf(fieldOf(value, 'metadata'), 'phone_number_id'))
        for (const [list, readItem] of LISTS) {
          for (const item of listOf(value, list)) {
            messages.push(readItem(item, device))
          }
          if (messages.length > MAX_MESSAGES) return []
        }
      }
    }
    return messages
  },
  reduce(body: unknown, kept: ReadonlySet<number>) {
    let position = 0
    const keep = () => kept.has(position++)
    const reduceEntry = (entry: unknown) => withItems(entry, 'changes', (change) => reduceChange(change, keep))
    return withItems(body, 'entry', reduceEntry) ?? { ...(body as object), entry: [] }
  },
  isSigned: ({ headers, rawBody }: SignedDelivery, secret: string, _now: number) =>
    isHexHmacSha256(headers['x-hub-signature-256'], 'sha256=', rawBody, secret),
  handshake: metaHandshake,
} satisfies Provider

type ReadItem = (item: unknown, device: unknown) => ReadMessage

/** Where messages stand in a change's value, in the order they are read and counted. */
const LISTS: ReadonlyArray<readonly [string, ReadItem]> = [
  ['messages', readMessage],
  ['statuses', readStatus],
  ['message_echoes', readEcho],
  ['calls', readCall],
]

const KINDS: ReadonlyMap<unknown, MessageKind> = new Map([
  ['reaction', 'reaction'],
  ['edit', 'edit'],
  ['revoke', 'delete'],
  ['system', 'system'],
])

function readMessage(item: unknown, device: unknown): ReadMessage {
  const kind = KINDS.get(fieldOf(item, 'type')) ?? 'message'
  return messageOf(item, fieldOf(item, 'from'), fieldOf(item, 'from_user_id'), device, kind)
}

function readEcho(item: unknown, device: unknown): ReadMessage {
  return messageOf(item, fieldOf(item, 'to'), fieldOf(item, 'to_user_id'), device, 'echo')
}

/** The number and the user id are two names of one person; either stands where the other is not. */
function messageOf(item: unknown, number: unknown, userId: unknown, device: unknown, kind: MessageKind): ReadMessage {
  const prospect = firstPresent(number, userId)
  const other = firstPresent(userId)
  const message = { id: firstPresent(fieldOf(item, 'id')), prospect, device, kind }
  return other === null || other === prospect ? message : { ...message, prospectAlt: other }
}

function readStatus(item: unknown, device: unknown): ReadMessage {
  const id = firstPresent(fieldOf(item, 'id'))
  const status = firstPresent(fieldOf(item, 'status'))
  const participant = firstPresent(
    fieldOf(item, 'recipient_participant_id'),
    fieldOf(item, 'recipient_participant_user_id'),
  )
  return {
    id: typeof id === 'string' ? joinedId(id, status, participant) : id,
    prospect: firstPresent(fieldOf(item, 'recipient_id'), fieldOf(item, 'recipient_user_id')),
    device,
    kind: 'status',
  }
}

/** Its id and `connect` or `terminate`. Whose call it is tells who of the two is the person. */
function readCall(item: unknown, device: unknown): ReadMessage {
  const side = fieldOf(item, 'direction') === 'BUSINESS_INITIATED' ? 'to' : 'from'
  const id = firstPresent(fieldOf(item, 'id'))
  return {
    id: typeof id === 'string' ? joinedId(id, firstPresent(fieldOf(item, 'event'))) : id,
    prospect: firstPresent(fieldOf(item, side), fieldOf(item, `${side}_user_id`)),
    device,
    kind: 'status',
  }
}

/** A copy with the items of one list mapped; undefined where it had items and none is left. */
function withItems(holder: unknown, name: string, map: (item: unknown) => unknown): unknown {
  const items = listOf(holder, name)
  if (items.length === 0) return holder
  const left = items.map(map).filter((item) => item !== undefined)
  return left.length === 0 ? undefined : { ...(holder as object), [name]: left }
}

/** A change as it is where it holds no messages; undefined where it held some and none is kept. */
function reduceChange(change: unknown, keep: () => boolean): unknown {
  const value = fieldOf(change, 'value')
  const copy: Record<string, unknown> = { ...(value as object) }
  let had = 0
  let left = 0
  for (const [name] of LISTS) {
    const items = listOf(value, name)
    if (items.length === 0) continue
    const kept = items.filter(keep)
    had += items.length
    left += kept.length
    if (kept.length > 0) copy[name] = kept
    else delete copy[name]
  }
  if (had === 0) return change
  return left === 0 ? undefined : { ...(change as object), value: copy }
}
