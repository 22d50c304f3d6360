/** What the WhatsApp gateways have of their own: one person's two names, twins, lists, secrets, odd bodies. */
import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { identify, type Provider, providerNamed, type ReadMessage } from '../../src/providers/index.ts'
import { deliveryOf, expectedOf, samplesOf } from './samples.ts'

const GATEWAYS = [
  '360dialog',
  'evolution',
  'fonnte',
  'gowa',
  'green-api',
  'gupshup',
  'ultramsg',
  'wablas',
  'waha',
  'whacenter',
  'whapi',
]

function presetOf(name: string): Provider {
  const preset = providerNamed(name)
  if (preset === undefined) throw new Error(`no provider is named ${name}`)
  return preset
}

/** What the provider reads where the user has named it, so that nothing is left to recognition. */
function read(name: string, body: unknown): ReadMessage[] {
  return presetOf(name).read({ method: 'POST', url: '/', headers: {}, body })
}

function sampleBody(provider: string, name: string): Record<string, unknown> {
  return deliveryOf(provider, name).body as Record<string, unknown>
}

describe('one person under two names', () => {
  const lid = '70000000000001@lid'

  it('prefers the number, and keeps the LID beside it', () => {
    const upsert = (key: object) => ({ event: 'messages.upsert', instance: 'bot', data: { key } })
    const number = '4915100000001@s.whatsapp.net'
    for (const key of [
      { remoteJid: lid, remoteJidAlt: number },
      { remoteJid: number, remoteJidAlt: lid },
    ]) {
      expect(read('evolution', upsert(key))).toMatchObject([{ prospect: number, prospectAlt: lid }])
    }
  })

  it('takes either where it is alone, and no second number for the same person', () => {
    const text = (payload: object) => read('gowa', { event: 'message', device_id: 'bot', payload })[0]
    expect(text({ from: lid })).toEqual({ id: null, prospect: lid, device: 'bot', kind: 'message' })
    expect(text({ from: '', from_lid: lid })).toEqual({ id: null, prospect: lid, device: 'bot', kind: 'message' })
    expect(text({ from: '49151@c.us', from_lid: '49152@c.us' })).not.toHaveProperty('prospectAlt')
  })

  it('spells the number of WAHA as its twin spells it', () => {
    const [message] = read('waha', sampleBody('waha', 'lid-with-number'))
    expect(message?.prospect).toBe(read('waha', sampleBody('waha', 'text'))[0]?.prospect)
  })

  it('never takes the bot for the person it wrote to', () => {
    const payload = {
      id: `true_${lid}_3EB0`,
      fromMe: true,
      _data: { Info: { SenderAlt: '4930000001@s.whatsapp.net' } },
    }
    expect(read('waha', { event: 'message.any', session: 'default', payload })).toMatchObject([{ prospect: lid }])
    const own = { id: '3EB0', chat_id: '4930@s.whatsapp.net', from: '49151@s.whatsapp.net', is_from_me: true }
    const revoked = { event: 'message.revoked', device_id: '4930@s.whatsapp.net', payload: own }
    expect(read('gowa', revoked)).toMatchObject([{ prospect: '49151@s.whatsapp.net', kind: 'delete' }])
    expect(read('ultramsg', sampleBody('ultramsg', 'created'))).toMatchObject([{ prospect: '4915100000001@c.us' }])
  })

  it('gives an echo the session of the message it answers', () => {
    for (const name of ['evolution', 'gowa', 'waha', 'green-api']) {
      const [text] = expectedOf(name)['text'] ?? []
      const [echo] = expectedOf(name)['echo'] ?? []
      expect(echo).toMatchObject({ prospect: text?.prospect, device: text?.device })
    }
  })
})

describe('WAHA twins', () => {
  it('have one id, and ask for their own key beside the session', () => {
    const [twin] = read('waha', sampleBody('waha', 'twin-by-lid'))
    const [other] = read('waha', sampleBody('waha', 'text'))
    expect(twin?.id).toBe(other?.id)
    expect(twin?.prospect).not.toBe(other?.prospect)
    expect(presetOf('waha').twins).toBe(true)
  })

  it('take any other id whole', () => {
    const idOf = (id: unknown) => read('waha', { event: 'message', session: 's', payload: { id } })[0]?.id
    expect(idOf('3EB0_FF')).toBe('3EB0_FF')
    expect(idOf(17)).toBe(17)
    for (const none of ['', '0', 0, null, undefined, 'false_', 'true_1@c.us', 'true_1@c.us_'])
      expect(idOf(none)).toBeNull()
  })
})

describe('ids', () => {
  it('of one message tell its statuses apart', () => {
    const idsIn = (statuses: unknown[]) => read('360dialog', { statuses }).map(({ id }) => id)
    expect(idsIn([{ id: 'a', status: 'sent' }, { id: 'a', status: 'read' }, { id: 'a' }])).toEqual([
      'a:sent',
      'a:read',
      'a',
    ])
    expect(idsIn([{ status: 'sent' }, { id: '0', status: 'sent' }, { id: 17, status: 'sent' }])).toEqual([
      null,
      null,
      17,
    ])
  })

  it('of an update that names no status is not that of its message', () => {
    const update = (data: object) => read('evolution', { ...sampleBody('evolution', 'status'), data })
    expect(update({ keyId: 'a', status: 'READ' })[0]).toMatchObject({ id: 'a:READ', kind: 'status' })
    expect(update({ key: { id: 'a' }, update: { status: 'READ' } })[0]).toMatchObject({ id: 'a:READ', kind: 'status' })
    expect(update({ keyId: 'a' })[0]).toMatchObject({ id: null, kind: 'status', content: ['a:update'] })
    expect(update({})[0]).toMatchObject({ id: null, kind: 'status', content: null })
  })

  it('are 0 and empty where there are none, and then the content tells', () => {
    const body = sampleBody('fonnte', 'without-inboxid')
    for (const inboxid of [0, '0', '', null]) {
      expect(read('fonnte', { ...body, inboxid })).toMatchObject([{ id: null, content: ['Pagi', '', '', 1772355600] }])
    }
    expect(read('fonnte', { ...body, inboxid: '5' })[0]).not.toHaveProperty('content')
  })

  it('are told apart by nothing where nothing was said', () => {
    expect(read('whacenter', { device_id: 'wc', from: '62811', message: '' })).toMatchObject([{ content: null }])
  })

  it('never look into what is deep', () => {
    const deep = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)
    expect(read('whacenter', { device_id: 'wc', from: '62811', message: deep })).toMatchObject([{ content: null }])
    expect(read('waha', { event: 'message', session: 's', payload: { id: deep } })).toHaveLength(1)
  })
})

describe('lists', () => {
  it.each([
    ['360dialog', 'texts'],
    ['gowa', 'read-receipts'],
    ['whapi', 'texts'],
    ['whapi', 'statuses'],
  ])('of %s are reduced to what is kept (%s)', (name, sample) => {
    const body = sampleBody(name, sample)
    const before = structuredClone(body)
    const expected = expectedOf(name)[sample] ?? []
    expected.forEach((message, position) => {
      const reduced = presetOf(name).reduce?.(body, new Set([position]))
      expect(read(name, reduced)).toEqual([message])
    })
    expect(read(name, presetOf(name).reduce?.(body, new Set()))).toEqual([])
    expect(body).toEqual(before)
  })

  it('count over all of them, and leave the rest of the body alone', () => {
    const body = {
      channel_id: 'T',
      messages: [{ id: 'a' }, { id: 'b' }],
      statuses: [{ id: 'c', status: 'read' }],
      x: 1,
    }
    expect(presetOf('whapi').reduce?.(body, new Set([1, 2]))).toEqual({ ...body, messages: [{ id: 'b' }] })
    const text = sampleBody('gowa', 'text')
    expect(presetOf('gowa').reduce?.(text, new Set([0]))).toEqual(text)
  })
})

describe('recognition', () => {
  it('does not go by the signature header that several share', () => {
    const headers = { 'x-hub-signature-256': `sha256=${'0'.repeat(64)}` }
    expect(identify({ headers, body: { event: 'message' } })).toBeUndefined()
    expect(identify({ headers, body: { device_id: 'x', message: 'y' } })).toBeUndefined()
  })

  it('passes what might be anybody', () => {
    const bodies = [
      { from: '62811', message: 'hi' },
      { id: '1', phone: '62811', message: 'hi' },
      { sender: '62811', device: '62812', message: 'hi' },
      { messages: [{ id: 'a', from: 'b' }] },
      { messages: [{ id: 'a', from: 'b', timestamp: '1', type: 'text' }] },
      { statuses: [] },
      { event: 'message', session: 's', payload: { id: 'x' } },
      { event: 'messages.upsert', instance: 'bot', data: {} },
      { event: 'order.created', device_id: 'x', payload: {} },
      { app: 'x', type: 'message', payload: {} },
    ]
    for (const body of bodies) expect(identify({ body })).toBeUndefined()
  })

  it.each(GATEWAYS)('of %s reads own properties only', (name) => {
    for (const sample of samplesOf(name)) {
      expect(
        presetOf(name).recognises({ ...deliveryOf(name, sample), body: Object.create(sampleBody(name, sample)) }),
      ).toBe(false)
    }
  })

  it.each(GATEWAYS)('and reading of %s never throw', (name) => {
    const odd = [undefined, null, 0, '', 'x', true, [], {}, [[]], { length: 3 }, { id: {} }, [null, 7, { id: [] }]]
    for (const sample of samplesOf(name)) {
      const body = sampleBody(name, sample)
      for (const field of Object.keys(body)) {
        for (const value of odd) expectCalm(name, { ...body, [field]: value })
      }
    }
    for (const body of odd) expectCalm(name, body)
  })
})

function expectCalm(name: string, body: unknown): void {
  const preset = presetOf(name)
  expect(typeof preset.recognises({ method: 'POST', url: '/', headers: {}, body })).toBe('boolean')
  expect(Array.isArray(read(name, body))).toBe(true)
  preset.reduce?.(body, new Set([0]))
}

describe('signatures', () => {
  const { rawBody } = deliveryOf('waha', 'text')
  const hmac = (algorithm: string, secret = 'key') => createHmac(algorithm, secret).update(rawBody).digest('hex')
  const isSigned = (name: string, headers: Record<string, string>, bytes: Uint8Array = rawBody) =>
    presetOf(name).isSigned?.({ method: 'POST', url: '/', headers, body: undefined, rawBody: bytes }, 'key', 0)
  const flipped = (hex: string) => `${hex.startsWith('0') ? '1' : '0'}${hex.slice(1)}`

  it.each([
    ['waha', 'x-webhook-hmac', '', 'sha512'],
    ['gowa', 'x-hub-signature-256', 'sha256=', 'sha256'],
  ])('of %s are the HMAC of the raw body', (name, header, prefix, algorithm) => {
    const right = hmac(algorithm)
    expect(isSigned(name, { [header]: `${prefix}${right}` })).toBe(true)
    const wrong = [
      '',
      prefix,
      right.slice(2),
      `${right}00`,
      flipped(right),
      hmac(algorithm, 'other'),
      `${right.slice(2)}zz`,
    ]
    for (const hex of wrong) expect(isSigned(name, { [header]: `${prefix}${hex}` })).toBe(false)
    expect(isSigned(name, {})).toBe(false)
    expect(isSigned(name, { [header]: `${prefix}${right}` }, Buffer.from('{}'))).toBe(false)
  })

  it.each(['evolution', 'green-api'])('stand for %s in a bearer token', (name) => {
    expect(isSigned(name, { authorization: 'Bearer key' })).toBe(true)
    for (const authorization of ['', 'Bearer ', 'Bearer keys', 'Basic key', 'key']) {
      expect(isSigned(name, { authorization })).toBe(false)
    }
    expect(isSigned(name, {})).toBe(false)
  })
})

it('says what each of them does with an answer', () => {
  const habits = GATEWAYS.map(presetOf).map(({ name, redelivers, deadlineMs = null }) => [name, redelivers, deadlineMs])
  expect(habits).toEqual([
    ['360dialog', true, null],
    ['evolution', true, 30_000],
    ['fonnte', false, null],
    ['gowa', true, 10_000],
    ['green-api', true, 180_000],
    ['gupshup', true, 10_000],
    ['ultramsg', false, null],
    ['wablas', false, null],
    ['waha', true, null],
    ['whacenter', false, null],
    ['whapi', false, null],
  ])
  // Wablas sends the answer's text to the customer: a stored one would be the same reply twice.
  for (const name of GATEWAYS) expect(presetOf(name).replays ?? false).toBe(false)
})
