/** Telegram's updates, as grammY and Telegraf hand them on. */
import type { Delivery } from '../engine/delivery.ts'

/**
 * The delivery that an update is: its id, its chat (where it has none, as an inline query, the person), and the
 * bot. It is read from the update itself, so that bots on different frameworks exclude each other all the same.
 */
export function deliveryOfUpdate(update: object, botId: number | undefined): Delivery {
  const { update_id: id, ...contents } = update as { update_id?: unknown }
  const message = { id: textOf(id), prospect: conversationOf(contents), device: textOf(botId) }
  return { provider: 'telegram', messages: [message] }
}

/** An update holds one more field beside its id, named after its type. */
function conversationOf(contents: object): string | undefined {
  const content = fieldsOf(Object.values(contents).find((value) => typeof value === 'object'))
  const chat = content['chat'] ?? fieldsOf(content['message'])['chat']
  const person = content['from'] ?? content['user']
  return textOf(fieldsOf(chat ?? person)['id'])
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function textOf(id: unknown): string | undefined {
  return typeof id === 'number' ? String(id) : undefined
}
