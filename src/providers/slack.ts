/**
 * Slack, in three shapes: events (JSON, `event_id`), interactions (a form whose `payload` is JSON) and slash
 * commands (a form), the latter two with a `trigger_id` for each click. A device is a workspace.
 */
import { fieldAt, fieldOf, firstPresent, headerOf, listOf, plainFieldsOf } from './fields.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { isHexHmacSha256, isSignedLately } from './signature.ts'

/**
 * Slack waits for three seconds. It redelivers events three times, clicks and commands never; the answer to those is
 * the reply.
 */
export const slack = {
  name: 'slack',
  redelivers: true,
  deadlineMs: 3000,
  replays: ({ body }: IncomingDelivery) => isCommand(body) || interactionOf(body) !== undefined,
  recognises: ({ body }: IncomingDelivery) =>
    isEvent(body) || isVerification(body) || isCommand(body) || interactionOf(body) !== undefined,
  read({ body }: IncomingDelivery): ReadMessage[] {
    if (isEvent(body)) return typeof fieldOf(body, 'event') === 'object' ? [readEvent(body)] : []
    if (isCommand(body)) return [readCommand(body)]
    const interaction = interactionOf(body)
    return interaction === undefined || isSuggestion(interaction) ? [] : [readInteraction(interaction)]
  },
  isSigned(delivery: SignedDelivery, secret: string, now: number) {
    const time = headerOf(delivery, 'x-slack-request-timestamp')
    const signed = Buffer.concat([Buffer.from(`v0:${time}:`), delivery.rawBody])
    return isSignedLately(time, now) && isHexHmacSha256(headerOf(delivery, 'x-slack-signature'), 'v0=', signed, secret)
  },
  /** As JSON, so that no challenge is ever taken for a page. */
  handshake: ({ body }: IncomingDelivery) =>
    isVerification(body)
      ? {
          status: 200,
          body: JSON.stringify({ challenge: fieldOf(body, 'challenge') }),
          contentType: 'application/json',
        }
      : undefined,
} satisfies Provider

const INTERACTIONS: readonly unknown[] = [
  'block_actions',
  'block_suggestion',
  'dialog_cancellation',
  'dialog_submission',
  'dialog_suggestion',
  'interactive_message',
  'message_action',
  'shortcut',
  'view_closed',
  'view_submission',
]

/** Others have an envelope of this type too; only Slack's names the app beside it. */
function isEvent(body: unknown): boolean {
  const type = fieldOf(body, 'type')
  return (type === 'event_callback' || type === 'app_rate_limited') && typeof fieldOf(body, 'api_app_id') === 'string'
}

function isVerification(body: unknown): boolean {
  return fieldOf(body, 'type') === 'url_verification' && typeof fieldOf(body, 'challenge') === 'string'
}

/** Mattermost sends the same form, but for the app's id. */
function isCommand(body: unknown): boolean {
  return ['command', 'trigger_id', 'api_app_id'].every((name) => typeof fieldOf(body, name) === 'string')
}

/** The interaction: inside the form's `payload`, or where a framework has unpacked it, the body. */
function interactionOf(body: unknown): unknown {
  const payload = fieldOf(body, 'payload')
  const interaction = typeof payload === 'string' ? parsed(payload) : body
  const hasUser = typeof fieldAt(interaction, 'user.id') === 'string'
  return INTERACTIONS.includes(fieldOf(interaction, 'type')) && hasUser ? interaction : undefined
}

/** Somebody types into a menu, which asks for its options: it must not wait for a slow reply. */
function isSuggestion(interaction: unknown): boolean {
  const type = fieldOf(interaction, 'type')
  return type === 'block_suggestion' || type === 'dialog_suggestion'
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function readEvent(body: unknown): ReadMessage {
  const event = fieldOf(body, 'event')
  const id = firstPresent(fieldOf(body, 'event_id'))
  const isEcho = isOwn(body, event)
  const prospect = isEcho ? null : authorOf(event)
  const item = fieldOf(event, 'item')
  const channel = firstPresent(fieldOf(event, 'channel'), fieldOf(item, 'channel'))
  const group = typeof channel === 'object' ? firstPresent(fieldOf(channel, 'id')) : channel
  return {
    id,
    prospect,
    device: firstPresent(fieldOf(body, 'team_id'), fieldOf(body, 'enterprise_id'), fieldOf(body, 'api_app_id')),
    kind: isEcho ? 'echo' : kindOf(event),
    ...(prospect === null && group !== null ? { group } : {}),
    ...(id === null ? { content: [...plainFieldsOf(event), ...plainFieldsOf(item)] } : {}),
  }
}

/** The bot's own words come back; to whom they were said, only the channel tells. */
function isOwn(body: unknown, event: unknown): boolean {
  const user = firstPresent(fieldOf(event, 'user'))
  if (user === null || fieldOf(event, 'type') !== 'message') return false
  const isBot = (who: unknown) => fieldOf(who, 'user_id') === user && fieldOf(who, 'is_bot') === true
  return listOf(body, 'authorizations').some(isBot)
}

/** The person stands in many places; where it is an object, the whole profile has changed. */
function authorOf(event: unknown): unknown {
  const user = firstPresent(fieldOf(event, 'user'), fieldOf(event, 'user_id'))
  if (user !== null) return typeof user === 'object' ? firstPresent(fieldOf(user, 'id')) : user
  const places = ['message.user', 'previous_message.user', 'assistant_thread.user_id']
  return firstPresent(...places.map((place) => fieldAt(event, place)))
}

const SUBTYPES: ReadonlyMap<unknown, MessageKind> = new Map([
  ['message_changed', 'edit'],
  ['message_deleted', 'delete'],
])

const EVENTS: ReadonlyMap<unknown, MessageKind> = new Map([
  ['message', 'message'],
  ['app_mention', 'message'],
  ['reaction_added', 'reaction'],
  ['reaction_removed', 'reaction'],
])

function kindOf(event: unknown): MessageKind {
  return SUBTYPES.get(fieldOf(event, 'subtype')) ?? EVENTS.get(fieldOf(event, 'type')) ?? 'event'
}

function readCommand(body: unknown): ReadMessage {
  return {
    id: firstPresent(fieldOf(body, 'trigger_id')),
    prospect: firstPresent(fieldOf(body, 'user_id')),
    device: firstPresent(fieldOf(body, 'team_id'), fieldOf(body, 'enterprise_id'), fieldOf(body, 'api_app_id')),
    kind: 'command',
  }
}

/** Dialogs, and the closing of a view, have no trigger. */
function readInteraction(interaction: unknown): ReadMessage {
  const id = firstPresent(fieldOf(interaction, 'trigger_id'))
  const teams = ['team.id', 'user.team_id', 'enterprise.id', 'api_app_id']
  const view = fieldOf(interaction, 'view')
  return {
    id,
    prospect: firstPresent(fieldAt(interaction, 'user.id')),
    device: firstPresent(...teams.map((path) => fieldAt(interaction, path))),
    kind: 'callback',
    ...(id === null ? { content: [...plainFieldsOf(interaction), ...plainFieldsOf(view)] } : {}),
  }
}
