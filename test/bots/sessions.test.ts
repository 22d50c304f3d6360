/** What the bots' middleware takes for the update's id, its conversation and the bot, from each kind of update. */
import { expect, test } from 'vitest'
import { deliveryOfBody } from '../../src/bots/slack-body.ts'
import { deliveryOfUpdate } from '../../src/bots/telegram-update.ts'

const ada = { id: 22, is_bot: false, first_name: 'Ada' }
const group = { id: -1001, type: 'supergroup', title: 'Engines' }

test.each([
  ['a message', { message: { chat: group, from: ada, text: 'hi' } }, '-1001'],
  ['an edit', { edited_message: { chat: group, from: ada, text: 'hi' } }, '-1001'],
  ['a post of a channel', { channel_post: { chat: group, text: 'hi' } }, '-1001'],
  ['a button under a message', { callback_query: { id: '1', from: ada, message: { chat: group } } }, '-1001'],
  ['a button under an inline message', { callback_query: { id: '1', from: ada, inline_message_id: 'x' } }, '22'],
  ['an inline query', { inline_query: { id: '1', from: ada, query: 'hi', offset: '' } }, '22'],
  ['a reaction', { message_reaction: { chat: group, user: ada, message_id: 3 } }, '-1001'],
  ['an answer to a poll', { poll_answer: { poll_id: '1', user: ada, option_ids: [0] } }, '22'],
  ['a message to a business', { business_message: { chat: { id: 5 }, from: ada, business_connection_id: 'b' } }, '5'],
  ['a new business connection', { business_connection: { id: 'b', user: ada, user_chat_id: 22 } }, '22'],
  ['a poll, which belongs to nobody', { poll: { id: '1', question: '?' } }, undefined],
  ['a kind that does not exist yet', { telepathy: { from: ada } }, '22'],
])('Telegram: %s', (_, content, prospect) => {
  expect(deliveryOfUpdate({ update_id: 900, ...content }, 4711)).toEqual({
    provider: 'telegram',
    messages: [{ id: '900', prospect, device: '4711' }],
  })
})

const event = (fields: object) => ({ type: 'event_callback', team_id: 'T1', event_id: 'Ev1', event: fields })
const here = { channel: 'C1', user: 'U1' }

test.each([
  ['a message', event({ type: 'message', ...here, ts: '1.1' }), 'Ev1', 'C1/U1', 'C1/1.1'],
  ['a reply', event({ type: 'message', ...here, ts: '1.2', thread_ts: '1.1' }), 'Ev1', 'C1/U1', 'C1/1.1'],
  [
    'an edit',
    event({ type: 'message', channel: 'C1', ts: '1.9', message: { user: 'U1', ts: '1.2', thread_ts: '1.1' } }),
    'Ev1',
    'C1/U1',
    'C1/1.1',
  ],
  [
    'a reaction',
    event({ type: 'reaction_added', user: 'U1', item: { type: 'message', channel: 'C1', ts: '1.1' } }),
    'Ev1',
    'C1/U1',
    'C1/1.1',
  ],
  ['a new member', event({ type: 'team_join', user: { id: 'U1' } }), 'Ev1', 'U1', undefined],
  ['an event about nobody', event({ type: 'emoji_changed' }), 'Ev1', '', undefined],
  [
    'a command',
    { command: '/order', trigger_id: '9.9', team_id: 'T1', channel_id: 'C1', user_id: 'U1' },
    '9.9',
    'C1/U1',
    undefined,
  ],
  [
    'a button in a thread',
    {
      type: 'block_actions',
      trigger_id: '9.9',
      team: { id: 'T1' },
      channel: { id: 'C1' },
      user: { id: 'U1' },
      message: { ts: '1.2', thread_ts: '1.1' },
    },
    '9.9',
    'C1/U1',
    'C1/1.1',
  ],
  [
    'a button in a message that only its sender sees',
    {
      type: 'block_actions',
      trigger_id: '9.9',
      team: { id: 'T1' },
      user: { id: 'U1' },
      container: { type: 'message', channel_id: 'C1', message_ts: '1.2', is_ephemeral: true },
    },
    '9.9',
    'C1/U1',
    'C1/1.2',
  ],
  [
    'a form',
    { type: 'view_submission', trigger_id: '9.9', team: { id: 'T1' }, user: { id: 'U1' }, view: { id: 'V1' } },
    '9.9',
    'U1',
    undefined,
  ],
  [
    'a form that was closed',
    { type: 'view_closed', team: { id: 'T1' }, user: { id: 'U1' }, view: { id: 'V1' } },
    undefined,
    'U1',
    undefined,
  ],
])('Slack: %s', (_, body, id, prospect, prospectAlt) => {
  expect(deliveryOfBody(body)).toEqual({
    provider: 'slack',
    messages: [{ id, prospect, prospectAlt, device: 'T1' }],
  })
})

test('an organisation’s own delivery names the organisation', () => {
  const body = { type: 'shortcut', trigger_id: '9.9', team: null, enterprise: { id: 'E1' }, user: { id: 'U1' } }
  expect(deliveryOfBody(body).messages).toMatchObject([{ device: 'E1', prospect: 'U1' }])
})

test('a body of any shape is read without a throw', () => {
  const odd = [{}, { event: null }, { event: { channel: 7, user: [] } }, { message: 'x', update_id: {} }, { a: null }]
  for (const body of odd) {
    expect(deliveryOfBody(body).messages).toHaveLength(1)
    expect(deliveryOfUpdate(body, undefined).messages).toHaveLength(1)
  }
})
