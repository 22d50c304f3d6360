/** What tells events apart: Chatwoot's, GitHub's, Stripe's, those of Standard Webhooks, Vonage's messages. */
import { describe, expect, it } from 'vitest'
import { identify, type Unidentified } from '../../src/providers/index.ts'
import { deliveryOf } from './samples.ts'

function read(delivery: Unidentified) {
  return identify(delivery)?.messages[0]
}

function changed(provider: string, name: string, fields: object): Unidentified {
  const { method, url, headers, body } = deliveryOf(provider, name)
  return { method, url, headers, body: { ...(body as object), ...fields } }
}

describe('stripe', () => {
  it('is no event without an id of its kind', () => {
    for (const id of [undefined, null, '', 7, 'cus_1', ['evt_1']])
      expect(identify(changed('stripe', 'payment', { id }))).toBeUndefined()
    expect(identify({ body: { id: 'evt_1', object: 'charge' } })).toBeUndefined()
  })
})

describe('github', () => {
  const { headers, body } = deliveryOf('github', 'ping')

  it('is known by its own two headers, not by the signature that others send too', () => {
    const { 'x-github-event': event, 'x-github-delivery': id, ...rest } = headers
    expect(identify({ headers: rest, body })).toBeUndefined()
    expect(identify({ headers: { ...rest, 'x-github-event': event }, body })).toBeUndefined()
    expect(read({ headers: { 'x-github-event': event, 'x-github-delivery': id }, body })?.id).toBe(id)
  })

  it('has a device only where the body names one', () => {
    for (const odd of [null, [], 'text', { payload: '{' }, { payload: 'null' }, { repository: 'x' }])
      expect(read({ headers, body: odd })).toMatchObject({ id: headers['x-github-delivery'], device: null })
  })
})

describe('standard-webhooks', () => {
  const { headers, body } = deliveryOf('standard-webhooks', 'user-created')

  it('is known by two headers of one name, so that nobody gets past a secret by leaving the signature out', () => {
    for (const name of ['webhook-id', 'webhook-timestamp']) {
      const { [name]: value, ...rest } = headers
      expect(identify({ headers: rest, body })).toBeUndefined()
      expect(identify({ headers: { ...rest, [name.replace('webhook', 'svix')]: value }, body })).toBeUndefined()
    }
    for (const signature of [undefined, '', 'abc'])
      expect(read({ headers: { ...headers, 'webhook-signature': signature }, body })).toEqual(read({ headers, body }))
    expect(identify({ headers: { ...headers, 'webhook-timestamp': 'today' }, body })).toBeUndefined()
  })
})

describe('vonage', () => {
  it('needs all that its requests have', () => {
    for (const name of ['msisdn', 'to', 'messageId', 'message-timestamp'])
      expect(identify(changed('vonage', 'text', { [name]: '' }))).toBeUndefined()
    expect(identify(changed('vonage', 'text', { type: 'image' }))).toBeUndefined()
  })

  it('comes by GET with a query, and no other way than GET and POST', () => {
    const { url } = deliveryOf('vonage', 'receipt-by-get')
    expect(read({ method: 'GET', url, body: undefined })?.id).toBe('0B0000000SAMPLE4:accepted')
    for (const method of ['HEAD', 'PUT', 'get', '']) expect(identify({ method, url, body: undefined })).toBeUndefined()
    expect(identify({ method: 'GET', url: '/sms', body: deliveryOf('vonage', 'text').body })).toBeUndefined()
    expect(identify({ method: 'GET', url: '/?__proto__=1&%', body: undefined })).toBeUndefined()
  })

  it('hands on parts of a status that are no text', () => {
    expect(read(changed('vonage', 'receipt', { messageId: 7 }))?.id).toBe(7)
    expect(read(changed('vonage', 'receipt', { status: ['delivered'] }))?.id).toEqual(['delivered'])
  })
})

describe('chatwoot', () => {
  it('has an id only for what happens once, unless the delivery has one', () => {
    const updated = changed('chatwoot', 'incoming', { event: 'message_updated' })
    expect(read(updated)).toMatchObject({ id: null, content: updated.body })
    expect(read({ ...updated, headers: { 'x-chatwoot-delivery': 'd-1' } })?.id).toBe('d-1')
    expect(read(changed('chatwoot', 'incoming', {}))).not.toHaveProperty('content')
  })

  it('takes a number of another kind for what it is', () => {
    expect(read(changed('chatwoot', 'incoming', { id: 1.5 }))?.id).toBe(1.5)
    expect(read(changed('chatwoot', 'incoming', { id: '7001' }))?.id).toBe('message_created:7001')
  })

  it('does not guess at events of others', () => {
    expect(identify(changed('chatwoot', 'incoming', { event: 'message' }))).toBeUndefined()
    expect(identify(changed('chatwoot', 'incoming', { message_type: undefined }))).toBeUndefined()
    expect(identify({ body: { event: 'message_created', id: 1 } })).toBeUndefined()
  })
})
