/** What Messenger's and Instagram's deliveries hold, how they are taken apart and how they are signed. */
import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { identify } from '../../src/providers/index.ts'
import { instagram } from '../../src/providers/instagram.ts'
import { messenger } from '../../src/providers/messenger.ts'
import { deliveryOf, expectedOf } from './samples.ts'

function idsOf(body: unknown): unknown[] | undefined {
  return identify({ body })?.messages.map(({ id }) => id)
}

/** The fields of the changes that are left. */
function fieldsOf(body: unknown): string[] {
  const { entry } = body as { entry: Array<{ changes?: Array<{ field: string }> }> }
  return entry.flatMap(({ changes = [] }) => changes.map(({ field }) => field))
}

/** One event as the only one of its delivery. */
function pageWith(event: unknown): unknown {
  return { object: 'page', entry: [{ id: '5', messaging: [event] }] }
}

describe('reading', () => {
  it('tells a repeated reaction from the first by its time, and has no id where there is none', () => {
    const reaction = { mid: 'm_1', action: 'react', emoji: '👍' }
    const given = (timestamp?: number) => pageWith({ sender: { id: '1' }, timestamp, reaction })
    expect(idsOf(given(10))).toEqual(['m_1:reaction:react:👍:10'])
    expect(idsOf(given(20))).not.toEqual(idsOf(given(10)))
    expect(idsOf(given())).toEqual([null])
  })

  it('takes an echo for one also where booleans are text', () => {
    const event = { sender: { id: 'page' }, recipient: { id: 'ann' }, message: { mid: 'm_1', is_echo: 'true' } }
    expect(identify({ body: pageWith(event) })?.messages).toEqual([
      { id: 'm_1', prospect: 'ann', device: 'page', kind: 'echo' },
    ])
  })

  it('hands on ids of the wrong type, and takes "0" and "" for none', () => {
    for (const mid of [17, { a: 1 }, ['x']]) expect(idsOf(pageWith({ message: { mid } }))).toEqual([mid])
    for (const mid of [0, '0', '', null]) expect(idsOf(pageWith({ message: { mid } }))).toEqual([null])
    expect(idsOf(pageWith({ message: { mid: 17, is_deleted: true } }))).toEqual([17])
  })

  it('leaves out what is about nobody', () => {
    for (const event of [null, 7, 'x', [], {}, { timestamp: 1 }]) expect(idsOf(pageWith(event))).toEqual([])
  })
})

describe('reducing', () => {
  const { body } = deliveryOf('messenger', 'three-pages')
  const all = expectedOf('messenger')['three-pages']?.map(({ id }) => id) ?? []

  it('keeps what is asked for, and what holds no messages', () => {
    for (const kept of [[0], [1], [2], [0, 2], [0, 1, 2], []]) {
      const reduced = messenger.reduce(body, new Set(kept))
      expect(idsOf(reduced)).toEqual(kept.map((position) => all[position]))
      expect(fieldsOf(reduced)).toContain('feed')
    }
  })

  it('counts comments, and not the changes that are none', () => {
    const comments = deliveryOf('instagram', 'comment').body
    expect(idsOf(instagram.reduce(comments, new Set([0])))).toEqual(['18000000000000077'])
    expect(fieldsOf(instagram.reduce(comments, new Set()))).toEqual(['story_insights'])
  })

  it('leaves the body it was given alone, and any body whole that holds nothing', () => {
    const before = structuredClone(body)
    messenger.reduce(body, new Set([1]))
    expect(body).toEqual(before)
    for (const entry of [null, 7, [], { messaging: {} }, { messaging: [null] }]) {
      const odd = { object: 'page', entry: [entry] }
      expect(messenger.reduce(odd, new Set())).toEqual(odd)
    }
  })
})

describe('signature and handshake', () => {
  it.each([messenger, instagram])("are those of all of Meta's products: $name", (provider) => {
    const rawBody = Buffer.from('{"object":"page"}')
    const right = `sha256=${createHmac('sha256', 'app secret').update(rawBody).digest('hex')}`
    const isSigned = (header: string | undefined, bytes = rawBody) =>
      provider.isSigned(
        {
          method: 'POST',
          url: '/',
          headers: { 'x-hub-signature-256': header },
          body: undefined,
          rawBody: bytes,
        },
        'app secret',
        0,
      )
    expect(isSigned(right)).toBe(true)
    expect(isSigned(right, Buffer.from('{"object":"pagf"}'))).toBe(false)
    for (const wrong of [undefined, '', right.slice(0, -2), `${right}00`]) expect(isSigned(wrong)).toBe(false)
    const url = '/?hub.mode=subscribe&hub.verify_token=token&hub.challenge=77'
    expect(provider.handshake({ method: 'GET', url, headers: {}, body: undefined }, 'token')?.body).toBe('77')
  })
})
