/** Fonnte, by form or JSON. `inboxid` 0 is none, and then the message is told by its content. */
import { fieldOf, firstPresent, idText } from './fields.ts'
import { contentOf, has, hasTexts, isGroup, isTrue, joined, type Person, personOf } from './gateways.ts'
import type { IncomingDelivery, Provider, ReadMessage } from './provider.ts'

/** Repeats have been seen, but nobody has said that a refused delivery comes again. */
export const fonnte = {
  name: 'fonnte',
  redelivers: false,
  recognises({ body }: IncomingDelivery) {
    if (!hasTexts(body, 'device') || has(body, 'event')) return false
    if (isTracking(body)) return has(body, 'status') || has(body, 'state')
    const isNamed = has(body, 'inboxid') || (has(body, 'member') && has(body, 'name'))
    return hasTexts(body, 'sender') && has(body, 'message') && isNamed
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const device = firstPresent(fieldOf(body, 'device'))
    if (isTracking(body)) {
      const id = firstPresent(idText(fieldOf(body, 'id')), idText(fieldOf(body, 'stateid')))
      return [
        { id: joined(id, fieldOf(body, 'status'), fieldOf(body, 'state')), prospect: null, device, kind: 'status' },
      ]
    }
    const message = { ...personIn(body), device, kind: 'message' as const }
    const id = idText(firstPresent(fieldOf(body, 'inboxid')))
    return [id === null ? { id, ...message, content: contentIn(body) } : { id, ...message }]
  },
} satisfies Provider

/** What became of a message of the bot's. */
function isTracking(body: unknown): boolean {
  return has(body, 'stateid') && !has(body, 'sender')
}

/** In a group `sender` is the group, and `member` the person. */
function personIn(body: unknown): Person {
  const sender = firstPresent(fieldOf(body, 'sender'))
  const member = firstPresent(fieldOf(body, 'member'))
  const inGroup = isTrue(fieldOf(body, 'isgroup')) || isGroup(sender) || member !== null
  return inGroup ? personOf(member, null, sender) : { prospect: sender }
}

function contentIn(body: unknown): unknown {
  return contentOf(
    fieldOf(body, 'message'),
    fieldOf(body, 'url'),
    fieldOf(body, 'location'),
    fieldOf(body, 'timestamp'),
  )
}
