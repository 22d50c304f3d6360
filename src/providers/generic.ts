/** The reader for everything that has no provider of its own here: the user says where the ids are. */
import { fieldAt, firstPresent } from './fields.ts'
import type { IncomingDelivery, ReadMessage } from './provider.ts'

/** The name that such messages have in keys, unless the option `provider` gives them another. */
export const GENERIC = 'generic'

/** What one message is keyed by. A message id deduplicates; prospect and device, or a session, take turns. */
export interface KeyParts {
  /** What a redelivery keeps. Absent, null, `''`, `0` and `'0'` are no ids. */
  readonly messageId?: unknown
  /** Who writes. */
  readonly prospect?: unknown
  /** To which of the bot's numbers, pages or instances. */
  readonly device?: unknown
  /** A session named by one string of your own, in place of prospect and device. */
  readonly session?: unknown
}

/**
 * Reads a delivery's key. Nothing (undefined, null, an empty array): this is no delivery of yours, and passes.
 *
 * @example
 * sessionLock({ key: ({ headers, body }) => ({ messageId: headers['webhook-id'], prospect: (body as Order).customer }) })
 */
export type KeyReader = (delivery: IncomingDelivery) => KeyParts | readonly KeyParts[] | null | undefined

/**
 * The names of the fields, as dotted paths into the parsed body.
 *
 * @example
 * sessionLock({ key: { messageId: 'data.id', prospect: 'data.from', device: 'instance' } })
 */
export interface KeyFields {
  readonly messageId?: string
  readonly prospect?: string
  readonly device?: string
  readonly session?: string
}

/** The messages that the user's key finds; none where it finds nothing to key on. */
export function readByKey(
  key: KeyReader | KeyFields,
  delivery: IncomingDelivery,
): Array<ReadMessage & { session: unknown }> {
  const found = typeof key === 'function' ? key(delivery) : fieldsOf(key, delivery.body)
  const all = found === undefined || found === null ? [] : Array.isArray(found) ? found : [found as KeyParts]
  const messages = all.map((parts: KeyParts) => ({
    id: firstPresent(parts.messageId),
    prospect: firstPresent(parts.prospect),
    device: firstPresent(parts.device),
    session: firstPresent(parts.session),
    kind: 'message' as const,
  }))
  return messages.some(({ id, prospect, session }) => firstPresent(id, prospect, session) !== null) ? messages : []
}

function fieldsOf(fields: KeyFields, body: unknown): KeyParts {
  const at = (path: string | undefined) => (path === undefined ? undefined : fieldAt(body, path))
  return {
    messageId: at(fields.messageId),
    prospect: at(fields.prospect),
    device: at(fields.device),
    session: at(fields.session),
  }
}
