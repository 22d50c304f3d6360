/** The bodies that Slack posts (events, commands, shortcuts, actions, views), as Bolt hands them on. */
import type { Delivery } from '../engine/delivery.ts'

type Fields = Readonly<Record<string, unknown>>

/**
 * The delivery that a body is. Its session is held under two names: what one person writes in one channel, and
 * the thread; a message at the top of a channel is the thread that may grow from it.
 */
export function deliveryOfBody(body: object): Delivery {
  const fields = fieldsOf(body)
  const { event, message, container } = nested(fields, 'event', 'message', 'container')
  const channel =
    firstId(event['channel'], event['channel_id'], fieldsOf(event['item'])['channel']) ??
    firstId(fields['channel'], fields['channel_id'], container['channel_id'])
  const user = personOf(event) ?? firstId(fields['user'], fields['user_id'])
  const thread = threadOf(event) ?? threadOf(message) ?? firstId(container['thread_ts'], container['message_ts'])
  return {
    provider: 'slack',
    messages: [
      {
        id: firstId(fields['event_id'], fields['trigger_id']),
        prospect: [channel, user].filter(Boolean).join('/'),
        prospectAlt: channel && thread && `${channel}/${thread}`,
        device: firstId(fields['team_id'], fields['team'], fields['enterprise']),
      },
    ],
  }
}

/** An edit, and a deletion, name the person in the message that they are about. */
function personOf(event: Fields): string | undefined {
  const { message, previous_message: previous } = nested(event, 'message', 'previous_message')
  return firstId(event['user'], event['user_id'], message['user'], previous['user'])
}

function threadOf(message: Fields): string | undefined {
  const inner = nested(message, 'assistant_thread', 'message', 'previous_message', 'item')
  const about = [inner.assistant_thread, inner.message, inner.previous_message]
  return firstId(
    message['thread_ts'],
    ...about.map((one) => one['thread_ts']),
    ...about.map((one) => one['ts']),
    inner.item['ts'],
    message['ts'],
  )
}

/** Slack writes ids as text, or as `{ id }`. */
function firstId(...values: unknown[]): string | undefined {
  for (const value of values) {
    const id = typeof value === 'object' ? fieldsOf(value)['id'] : value
    if (typeof id === 'string' && id !== '') return id
  }
  return undefined
}

function nested<Name extends string>(fields: Fields, ...names: Name[]): Record<Name, Fields> {
  return Object.fromEntries(names.map((name) => [name, fieldsOf(fields[name])])) as Record<Name, Fields>
}

function fieldsOf(value: unknown): Fields {
  return typeof value === 'object' && value !== null ? (value as Fields) : {}
}
