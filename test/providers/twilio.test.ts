/** What Twilio's deliveries hold, and how they are signed: against Twilio's own package. */
import { getExpectedBodyHash, getExpectedTwilioSignature } from 'twilio/lib/webhooks/webhooks.js'
import { describe, expect, it } from 'vitest'
import { identify } from '../../src/providers/index.ts'
import type { SignedDelivery } from '../../src/providers/provider.ts'
import { twilio } from '../../src/providers/twilio.ts'
import { deliveryOf } from './samples.ts'

const SECRET = '0123456789abcdef0123456789abcdef'
const sample = deliveryOf('twilio', 'sms')

/** The sample as Twilio signs it for a URL, with what a proxy and the framework make of it. */
function signedFor(url: string, changes: Partial<SignedDelivery> = {}): SignedDelivery {
  const signature = getExpectedTwilioSignature(SECRET, url, sample.body as Record<string, string>)
  const headers = { host: 'bot.example', ...changes.headers, 'x-twilio-signature': signature }
  return { ...sample, url: '/sms?bot=1', ...changes, headers }
}

const isSigned = (delivery: SignedDelivery, secret = SECRET) => twilio.isSigned(delivery, secret, 0)

describe('signature', () => {
  it('is made over the public URL and all fields', () => {
    expect(isSigned(signedFor('https://bot.example/sms?bot=1'))).toBe(true)
    expect(isSigned(signedFor('http://bot.example/sms?bot=1'))).toBe(true)
    expect(isSigned(signedFor('https://bot.example/sms?bot=2'))).toBe(false)
    expect(isSigned(signedFor('https://bot.example/sms?bot=1'), 'another')).toBe(false)
  })

  it('takes the origin it is told, and then no other', () => {
    const origin = 'https://bot.example'
    expect(isSigned(signedFor(`${origin}/sms?bot=1`, { origin, headers: { host: 'inside:3000' } }))).toBe(true)
    expect(isSigned(signedFor('https://inside/sms?bot=1', { origin, headers: { host: 'inside' } }))).toBe(false)
  })

  it('finds the public host behind a proxy, with and without the port', () => {
    const headers = { host: '127.0.0.1:3000', 'x-forwarded-host': 'bot.example, inner' }
    expect(isSigned(signedFor('https://bot.example/sms?bot=1', { headers }))).toBe(true)
    expect(isSigned(signedFor('https://bot.example:443/sms?bot=1', { headers }))).toBe(true)
    expect(isSigned(signedFor('http://127.0.0.1:3000/sms?bot=1', { headers }))).toBe(true)
  })

  it('is refused where anything was changed', () => {
    const right = signedFor('https://bot.example/sms?bot=1')
    const signature = String(right.headers['x-twilio-signature'])
    const flipped = (signature.startsWith('A') ? 'B' : 'A') + signature.slice(1)
    for (const wrong of [undefined, '', flipped, signature.slice(1), `${signature}=`]) {
      expect(isSigned({ ...right, headers: { ...right.headers, 'x-twilio-signature': wrong } })).toBe(false)
    }
    const text = right.rawBody.toString()
    for (const other of [`${text}&Extra=1`, text.replace('Hallo', 'Hello'), '']) {
      expect(isSigned({ ...right, rawBody: Buffer.from(other) })).toBe(false)
    }
  })

  it('sorts the names, and the values of one name', () => {
    const url = 'https://bot.example/sms?bot=1'
    const signature = getExpectedTwilioSignature(SECRET, url, { b: ['2', '1', '2'], B: 'x', a: '' })
    const rawBody = Buffer.from('b=2&a=&B=x&b=1&b=2')
    expect(
      isSigned({ ...signedFor(url), rawBody, headers: { host: 'bot.example', 'x-twilio-signature': signature } }),
    ).toBe(true)
  })

  it('covers a JSON body by its hash in the query', () => {
    const rawBody = Buffer.from('{"MessageSid":"SM1","Body":"ü"}')
    const url = `/sms?bodySHA256=${getExpectedBodyHash(rawBody.toString())}`
    const signature = getExpectedTwilioSignature(SECRET, `https://bot.example${url}`, {})
    const delivery = {
      ...signedFor(''),
      url,
      rawBody,
      headers: { host: 'bot.example', 'x-twilio-signature': signature },
    }
    expect(isSigned(delivery)).toBe(true)
    expect(isSigned({ ...delivery, rawBody: Buffer.from('{"MessageSid":"SM2","Body":"ü"}') })).toBe(false)
    expect(isSigned({ ...delivery, url: '/sms?bodySHA256=00' })).toBe(false)
  })
})

describe('recognising', () => {
  const form = { AccountSid: 'AC1', MessageSid: 'SM1', From: '+1', To: '+2' }

  it('passes what has no message: calls, conversations, other forms', () => {
    const others = [
      { AccountSid: 'AC1', CallSid: 'CA1', From: '+1', To: '+2', CallStatus: 'ringing' },
      { AccountSid: 'AC1', EventType: 'onMessageAdded', MessageSid: 'IM1', ConversationSid: 'CH1', Author: '+1' },
      { ...form, AccountSid: 'XY1' },
      { ...form, MessageSid: '' },
    ]
    for (const body of others) expect(identify({ body })).toBeUndefined()
  })

  it('hands on fields that came twice as they are', () => {
    const body = { ...form, From: ['+1', '+3'], MessageSid: ['SM1', 'SM2'] }
    expect(identify({ body })?.messages).toEqual([
      { id: ['SM1', 'SM2'], prospect: ['+1', '+3'], device: '+2', kind: 'message' },
    ])
  })
})
