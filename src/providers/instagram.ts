/**
 * Instagram (Meta): direct messages, in the shape of Messenger's or, from the app dashboard, as a change; and
 * comments, each with an id and an author of its own.
 */
import { fieldOf, firstPresent } from './fields.ts'
import { MESSAGING_LISTS, metaMessaging, readMessaging } from './meta-messaging.ts'
import type { ReadMessage } from './provider.ts'

/** Meta unsubscribes a webhook that has failed for an hour. */
export const instagram = metaMessaging('instagram', 'instagram', [...MESSAGING_LISTS, ['changes', readChange]])

const COMMENTS: readonly unknown[] = ['comments', 'live_comments']

function readChange(change: unknown, entry: unknown): ReadMessage | undefined {
  const value = fieldOf(change, 'value')
  if (fieldOf(value, 'sender') !== undefined) return readMessaging(value, entry)
  const id = firstPresent(fieldOf(value, 'id'))
  if (id === null || !COMMENTS.includes(fieldOf(change, 'field'))) return undefined
  const prospect = firstPresent(fieldOf(fieldOf(value, 'from'), 'id'))
  return { id, prospect, device: firstPresent(fieldOf(entry, 'id')), kind: 'event' }
}
