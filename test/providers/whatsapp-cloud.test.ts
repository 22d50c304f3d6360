/** What the WhatsApp Cloud API's deliveries hold, and how they are signed. */
import { createHmac } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { identify, type ReadMessage } from '../../src/providers/index.ts'
import { whatsappCloud } from '../../src/providers/whatsapp-cloud.ts'

const samples = new URL('../samples/whatsapp-cloud/', import.meta.url)
const expected = JSON.parse(
  readFileSync(new URL('../samples/whatsapp-cloud.expected.json', import.meta.url), 'utf8'),
) as Record<string, ReadMessage[]>

function sample(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`${name}.json`, samples), 'utf8'))
}

/** One message as the only one of its delivery. */
function deliveryOf(message: unknown, list = 'messages'): unknown {
  return { object: 'whatsapp_business_account', entry: [{ changes: [{ value: { [list]: [message] } }] }] }
}

function idsOf(body: unknown): unknown[] | undefined {
  return identify({ body })?.messages.map(({ id }) => id)
}

describe('reading', () => {
  it.each(readdirSync(samples).map((file) => file.replace('.json', '')))('reads %s', (name) => {
    expect(identify({ method: 'POST', url: '/webhook', headers: {}, body: sample(name) })).toEqual({
      provider: 'whatsapp-cloud',
      messages: expected[name],
    })
  })

  it('takes nothing that is not certainly a delivery of this provider', () => {
    const bodies = [
      undefined,
      null,
      'text',
      7,
      [],
      {},
      { object: 'user', entry: [] },
      { object: 'whatsapp_business_account' },
    ]
    for (const body of bodies) expect(identify({ body })).toBeUndefined()
    expect(identify({ method: 'GET', body: sample('text') })).toBeUndefined()
    expect(identify({ body: { object: 'whatsapp_business_account', entry: 'x' } })).toBeUndefined()
  })

  it('never throws, whatever stands where a list or an object belongs', () => {
    const odd = [null, 0, 'x', [], [[]], { length: 3 }, { changes: {} }, { changes: [null, { value: [] }] }]
    for (const entry of odd) {
      const body = { object: 'whatsapp_business_account', entry: [entry] }
      expect(identify({ body })).toEqual({ provider: 'whatsapp-cloud', messages: [] })
      expect(whatsappCloud.reduce(body, new Set([0]))).toEqual(body)
    }
    expect(identify({ body: deliveryOf(null) })?.messages).toEqual([
      { id: null, prospect: null, device: null, kind: 'message' },
    ])
  })

  it('reads own properties only', () => {
    const body = JSON.parse('{"__proto__":{"object":"whatsapp_business_account","entry":[]}}')
    expect(identify({ body })).toBeUndefined()
    const message = Object.create({ id: 'wamid.INHERITED', from: '1' })
    expect(idsOf(deliveryOf(message))).toEqual([null])
  })

  it('takes 0, "0", "" and null for no id', () => {
    for (const none of [0, '0', '', null]) expect(idsOf(deliveryOf({ id: none, from: '1' }))).toEqual([null])
  })

  it('hands on values of the wrong type as they are, also in the parts of a status', () => {
    expect(idsOf(deliveryOf({ id: 17 }))).toEqual([17])
    expect(idsOf(deliveryOf({ id: { a: 1 } }))).toEqual([{ a: 1 }])
    expect(idsOf(deliveryOf({ id: 17, status: 'sent' }, 'statuses'))).toEqual([17])
    expect(idsOf(deliveryOf({ id: 'wamid.1', status: ['sent'] }, 'statuses'))).toEqual([['sent']])
  })

  it('reads twenty times what Meta sends at once, and nothing of what holds more', () => {
    const change = (length: number) => ({ value: { messages: new Array(length).fill({ id: 'wamid.1', from: '1' }) } })
    const bodyOf = (...lengths: number[]) => {
      return { object: 'whatsapp_business_account', entry: [{ changes: lengths.map(change) }] }
    }
    expect(idsOf(bodyOf(10_000, 10_000))).toHaveLength(20_000)
    expect(idsOf(bodyOf(10_000, 10_001))).toEqual([])
    expect(idsOf(bodyOf(20_001))).toEqual([])
  })

  it('reads a delivery of a thousand messages and one nested a hundred thousand deep', () => {
    const value = { messages: Array.from({ length: 1000 }, (_, index) => ({ id: `wamid.${index}`, from: '1' })) }
    const many = { object: 'whatsapp_business_account', entry: [{ changes: [{ value }] }] }
    expect(idsOf(many)).toHaveLength(1000)
    const deep = JSON.parse(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)
    expect(idsOf(deliveryOf({ id: 'wamid.1', text: deep }))).toEqual(['wamid.1'])
  })
})

describe('reducing', () => {
  it('keeps what is asked for, in its place, and drops changes and entries that become empty', () => {
    const body = sample('three-people')
    for (const kept of [[0], [1], [4], [0, 3], [1, 2, 4], [0, 1, 2, 3, 4]]) {
      const reduced = whatsappCloud.reduce(body, new Set(kept))
      expect(idsOf(reduced)).toEqual(kept.map((position) => expected['three-people']?.[position]?.id))
    }
    const second = whatsappCloud.reduce(body, new Set([2])) as { entry: Array<{ changes: unknown[] }> }
    expect(second.entry).toHaveLength(1)
    expect(second.entry[0]?.changes).toHaveLength(1)
  })

  it('keeps contacts, metadata and changes that hold no message', () => {
    const reduced = whatsappCloud.reduce(sample('two-of-one-person'), new Set([1]))
    expect(reduced).toMatchObject({
      entry: [
        { changes: [{ value: { metadata: {}, contacts: [{}], messages: [{ id: 'wamid.TWO2' }] }, field: 'messages' }] },
      ],
    })
    const update = { entry: [{ changes: [{ field: 'message_template_status_update' }] }] }
    expect(whatsappCloud.reduce(sample('mixed-with-update'), new Set())).toMatchObject(update)
  })

  it('leaves the body it was given alone', () => {
    const body = sample('three-people')
    const before = structuredClone(body)
    whatsappCloud.reduce(body, new Set([2]))
    whatsappCloud.reduce(body, new Set())
    expect(body).toEqual(before)
  })

  it('leaves nothing where nothing is kept', () => {
    expect(idsOf(whatsappCloud.reduce(sample('three-people'), new Set()))).toEqual([])
  })
})

describe('signature', () => {
  const rawBody = readFileSync(new URL('text.json', samples))
  const sign = (secret: string) => createHmac('sha256', secret).update(rawBody).digest('hex')
  const isSigned = (header: string | undefined, secret = 'app secret') =>
    whatsappCloud.isSigned?.(
      { method: 'POST', url: '/', headers: { 'x-hub-signature-256': header }, body: undefined, rawBody },
      secret,
      0,
    )

  it('is the HMAC-SHA256 of the raw body under the app secret', () => {
    expect(isSigned(`sha256=${sign('app secret')}`)).toBe(true)
    expect(isSigned(`sha256=${sign('app secret').toUpperCase()}`)).toBe(true)
  })

  it('is refused when absent, malformed, or made with another secret', () => {
    const right = sign('app secret')
    const wrong = [undefined, '', 'sha256=', right, `sha1=${right}`, `sha256=${right}00`, `sha256=${right.slice(2)}zz`]
    for (const header of [...wrong, `sha256=${sign('other')}`]) expect(isSigned(header)).toBe(false)
  })
})

describe('handshake', () => {
  const ask = (query: string) =>
    whatsappCloud.handshake({ method: 'GET', url: `/webhook?${query}`, headers: {}, body: undefined }, 'token')

  it('echoes the challenge where the verify token is right', () => {
    expect(ask('hub.mode=subscribe&hub.verify_token=token&hub.challenge=1158')).toEqual({ status: 200, body: '1158' })
  })

  it('refuses anything else', () => {
    const wrong = [
      'hub.mode=subscribe&hub.verify_token=tokeN&hub.challenge=1158',
      'hub.mode=subscribe&hub.challenge=1158',
    ]
    for (const query of wrong) expect(ask(query)).toEqual({ status: 403, body: '' })
  })

  it('leaves other GETs alone', () => {
    const others = [
      '',
      'hub.mode=unsubscribe&hub.verify_token=token&hub.challenge=1158',
      'hub.mode=subscribe&hub.verify_token=token',
    ]
    for (const query of others) expect(ask(query)).toBeUndefined()
  })

  it('takes any path, also one that is no URL', () => {
    const get = (url: string) => whatsappCloud.handshake({ method: 'GET', url, headers: {}, body: undefined }, 'token')
    for (const url of ['', '//', '///', '//?x', '*', 'http://', '\\\\?%', '/?#?']) expect(get(url)).toBeUndefined()
    expect(get('//?hub.mode=subscribe&hub.verify_token=token&hub.challenge=1')?.status).toBe(200)
  })
})
