/** How Telegram, Slack, LINE, Viber, Discord and Teams deliver: against the vendors' own verifiers where they are. */
import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import { validateSignature } from '@line/bot-sdk'
import { isValidSlackRequest } from '@slack/bolt'
import { verifyKey } from 'discord-interactions'
import { describe, expect, it } from 'vitest'
import { discord } from '../../src/providers/discord.ts'
import { identify } from '../../src/providers/index.ts'
import { line } from '../../src/providers/line.ts'
import type { IncomingDelivery, Provider } from '../../src/providers/provider.ts'
import { slack } from '../../src/providers/slack.ts'
import { teams } from '../../src/providers/teams.ts'
import { telegram } from '../../src/providers/telegram.ts'
import { viber } from '../../src/providers/viber.ts'
import { deliveryOf } from './samples.ts'

const NOW = 1_790_000_000_000
const SECONDS = String(NOW / 1000)
const RAW = Buffer.from('{"text":"schön"}')

type Headers = Record<string, string | undefined>

function isSigned(provider: Provider, headers: Headers, secret: string, rawBody = RAW, now = NOW): boolean | undefined {
  return provider.isSigned?.({ method: 'POST', url: '/', headers, body: undefined, rawBody }, secret, now)
}

/** The right headers pass; none of them may be missing, changed, cut or lengthened, nor the body be another. */
function expectOnlyTheRightSignature(provider: Provider, headers: Headers, secret: string, name: string): void {
  expect(isSigned(provider, headers, secret)).toBe(true)
  expect(isSigned(provider, headers, secret, Buffer.from('{"text":"schon"}'))).toBe(false)
  expect(isSigned(provider, {}, secret)).toBe(false)
  const right = headers[name] ?? ''
  const middle = right.length >> 1
  const flipped = `${right.slice(0, middle)}${right[middle] === '0' ? '1' : '0'}${right.slice(middle + 1)}`
  for (const wrong of [undefined, '', flipped, right.slice(0, -2), `${right}00`]) {
    expect(isSigned(provider, { ...headers, [name]: wrong }, secret)).toBe(false)
  }
}

describe('signatures', () => {
  it('of Slack hold for five minutes', () => {
    const hex = createHmac('sha256', 'signing secret').update(`v0:${SECONDS}:${RAW}`).digest('hex')
    const headers = { 'x-slack-request-timestamp': SECONDS, 'x-slack-signature': `v0=${hex}` }
    const vendors = { 'x-slack-request-timestamp': Number(SECONDS), 'x-slack-signature': `v0=${hex}` }
    const asked = { signingSecret: 'signing secret', body: RAW.toString(), headers: vendors, nowMilliseconds: NOW }
    expect(isValidSlackRequest(asked)).toBe(true)
    expectOnlyTheRightSignature(slack, headers, 'signing secret', 'x-slack-signature')
    expect(isSigned(slack, headers, 'another secret')).toBe(false)
    expect(isSigned(slack, headers, 'signing secret', RAW, NOW + 299_000)).toBe(true)
    expect(isSigned(slack, headers, 'signing secret', RAW, NOW + 301_000)).toBe(false)
    expect(isSigned(slack, { ...headers, 'x-slack-request-timestamp': 'soon' }, 'signing secret')).toBe(false)
  })

  it('of LINE cover the body', () => {
    const signature = createHmac('sha256', 'channel secret').update(RAW).digest('base64')
    expect(validateSignature(RAW, 'channel secret', signature)).toBe(true)
    expectOnlyTheRightSignature(line, { 'x-line-signature': signature }, 'channel secret', 'x-line-signature')
    expect(isSigned(line, { 'x-line-signature': signature }, 'another')).toBe(false)
  })

  it('of Viber cover the body', () => {
    const signature = createHmac('sha256', 'auth token').update(RAW).digest('hex')
    const headers = { 'x-viber-content-signature': signature }
    expectOnlyTheRightSignature(viber, headers, 'auth token', 'x-viber-content-signature')
    expect(isSigned(viber, headers, 'another')).toBe(false)
  })

  it('of Discord are made with a key of which the secret is the public half', async () => {
    const { publicKey, privateKey } = generateKeyPairSync('ed25519')
    const secret = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url').toString('hex')
    const signature = sign(null, Buffer.concat([Buffer.from(SECONDS), RAW]), privateKey).toString('hex')
    const headers = { 'x-signature-ed25519': signature, 'x-signature-timestamp': SECONDS }
    expect(await verifyKey(RAW, signature, SECONDS, secret)).toBe(true)
    expectOnlyTheRightSignature(discord, headers, secret, 'x-signature-ed25519')
    expect(isSigned(discord, { ...headers, 'x-signature-timestamp': '1' }, secret)).toBe(false)
    for (const wrong of ['', 'no key', 'f'.repeat(64), '0'.repeat(64), secret.slice(2)]) {
      expect(isSigned(discord, headers, wrong)).toBe(false)
    }
  })

  it('of Telegram are a token that only it was told', () => {
    const name = 'x-telegram-bot-api-secret-token'
    expect(isSigned(telegram, { [name]: 'a-token' }, 'a-token')).toBe(true)
    for (const wrong of [undefined, '', 'a-toke', 'a-tokens']) {
      expect(isSigned(telegram, { [name]: wrong }, 'a-token')).toBe(false)
    }
  })
})

describe('handshakes', () => {
  it("answer Slack's challenge, Discord's PING and LINE's check", () => {
    const challenge = slack.handshake(deliveryOf('slack', 'verification'))
    expect(challenge).toEqual({ status: 200, body: '{"challenge":"c0ffee"}', contentType: 'application/json' })
    const pong = discord.handshake(deliveryOf('discord', 'ping'))
    expect(pong).toEqual({ status: 200, body: '{"type":1}', contentType: 'application/json' })
    expect(line.handshake(deliveryOf('line', 'check'))).toEqual({ status: 200, body: '' })
  })

  it("echo Microsoft Graph's token, as plain text", () => {
    const asked = { ...deliveryOf('teams', 'text'), url: '/webhook?validationToken=a%20b%3Cc%3E', body: undefined }
    expect(teams.handshake(asked)).toEqual({ status: 200, body: 'a b<c>' })
  })

  it('leave messages alone', () => {
    expect(teams.handshake(deliveryOf('teams', 'text'))).toBeUndefined()
    expect(slack.handshake(deliveryOf('slack', 'message'))).toBeUndefined()
    expect(discord.handshake(deliveryOf('discord', 'command'))).toBeUndefined()
    expect(line.handshake(deliveryOf('line', 'group'))).toBeUndefined()
  })
})

describe('the answer carries the reply', () => {
  const cases: ReadonlyArray<readonly [Provider, string, boolean]> = [
    [slack, 'command', true],
    [slack, 'button', true],
    [slack, 'message', false],
    [viber, 'started', true],
    [viber, 'text', false],
    [teams, 'invoke', true],
    [teams, 'text', false],
  ]
  it.each(cases)('of $0.name to $1: $2', (provider, name, expected) => {
    const { replays } = provider
    expect(typeof replays === 'function' && replays(deliveryOf(provider.name, name))).toBe(expected)
  })
})

describe('the token of Viber', () => {
  const body = (token: unknown) => ({ event: 'message', timestamp: 1, message_token: token, sender: { id: 'ann' } })
  const idOf = (text: string, rawBody?: Buffer) => identify({ body: JSON.parse(text), rawBody })?.messages[0]?.id
  const textWith = (digits: string, more = '') =>
    JSON.stringify(body(0)).replace('"message_token":0', `${more}"message_token" : ${digits}`)

  it('is read digit by digit from the text', () => {
    for (const digits of ['5999888777666555443', '5999888777666555444']) {
      expect(idOf(textWith(digits), Buffer.from(textWith(digits)))).toBe(digits)
    }
  })

  it('is none where the text was not kept, or says two things', () => {
    const text = textWith('5999888777666555443')
    const unread = identify({ body: JSON.parse(text) })?.messages[0]
    expect(unread).toMatchObject({ id: null, prospect: 'ann', content: expect.arrayContaining(['message', 1]) })
    const twice = textWith('5999888777666555443', '"message_token":5999888777666555444,')
    expect(idOf(twice, Buffer.from(twice))).toBeNull()
  })

  it('needs no text where it is small, or is text itself', () => {
    expect(identify({ body: body(77) })?.messages[0]?.id).toBe('77')
    expect(identify({ body: body('5999888777666555443') })?.messages[0]?.id).toBe('5999888777666555443')
    expect(identify({ body: body(1.5) })?.messages[0]?.id).toBe(1.5)
  })
})

describe('recognising', () => {
  const others: Readonly<Record<string, unknown>> = {
    'a Mattermost command': { command: '/water', trigger_id: 'x', team_id: 't', user_id: 'u', token: 't' },
    'an envelope like the one of Slack': { type: 'event_callback', uuid: 'u', token: 't', event: { type: 'message' } },
    "GitHub's form": { payload: '{"action":"opened","user":{"id":"1"}}' },
    'a form with a broken payload': { payload: '{"type":"block_actions"' },
    'another channel of the Bot Framework': { ...(deliveryOf('teams', 'text').body as object), channelId: 'webchat' },
    'an update of no kind': { update_id: 5, text: 'hello' },
    'events of somebody else': { destination: 'here', events: [{ name: 'x' }] },
    'an interaction without an application': { type: 2, id: '1', token: 't', version: 1 },
    'an event of another name': { event: 'ping', message_token: 1, timestamp: 1 },
  }
  it.each(Object.keys(others))('passes %s', (name) => {
    expect(identify({ body: others[name] })).toBeUndefined()
  })

  it('never throws, whatever is read', () => {
    const odd = [undefined, null, 7, 'x', [], [null], { events: [null, 7] }, { payload: '[' }, { update_id: 1 }]
    for (const provider of [telegram, slack, line, viber, discord, teams] as const) {
      for (const body of odd) {
        const delivery: IncomingDelivery = { method: 'POST', url: '/', headers: {}, body }
        expect(provider.recognises(delivery)).toBe(false)
        expect(() => provider.read(delivery)).not.toThrow()
      }
    }
  })
})

describe('reading', () => {
  it('tells two invokes of Teams apart by all of their value, and not by their ids', () => {
    const { body } = deliveryOf('teams', 'invoke')
    const contentWith = (changes: object) =>
      identify({ body: { ...(body as object), ...changes } })?.messages[0]?.content
    expect(contentWith({ id: 'f:new' })).toBe(contentWith({}))
    expect(contentWith({ value: { action: { data: { order: 8 } } } })).not.toBe(contentWith({}))
    const deep = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)
    // Newer Nodes write it however deep it is.
    expect([null, expect.stringContaining('[[[')]).toContainEqual(contentWith({ value: deep }))
  })

  it('takes apart what LINE sends together', () => {
    const { body } = deliveryOf('line', 'two-people')
    const idsLeft = (kept: number[]) =>
      identify({ body: line.reduce(body, new Set(kept)) })?.messages.map(({ id }) => id)
    expect(idsLeft([1])).toEqual(['01SAMPLE000000000000000002'])
    expect(idsLeft([0, 1])).toHaveLength(2)
    expect(idsLeft([])).toEqual([])
  })

  it('reads an interaction of Slack that was unpacked before', () => {
    const packed = deliveryOf('slack', 'button')
    const body = JSON.parse((packed.body as { payload: string }).payload)
    expect(identify({ body })).toEqual(identify(packed))
  })

  it('reads kinds of Telegram updates that are not known yet', () => {
    expect(identify({ body: { update_id: 9, tomorrows_news: { from: { id: 5 } } } })?.messages).toEqual([
      { id: '9', prospect: '5', device: null, kind: 'event' },
    ])
  })
})
