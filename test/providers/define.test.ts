/** Providers of one's own: what is wrong with them is said at start. */
import { describe, expect, it } from 'vitest'
import { resolveOptions } from '../../src/engine/options.ts'
import { createReceiver } from '../../src/http/receive.ts'
import { defineProvider, type Provider } from '../../src/providers/index.ts'

const least = {
  name: 'acme',
  recognises: () => true,
  read: () => [{ id: '1', prospect: null, device: null, kind: 'message' as const }],
}

describe('defining', () => {
  it('takes the least there can be, which redelivers', () => {
    expect(defineProvider(least)).toEqual({ ...least, redelivers: true })
    expect(defineProvider({ ...least, redelivers: false }).redelivers).toBe(false)
  })

  const wrong: ReadonlyArray<readonly [object, RegExp]> = [
    [{ name: undefined }, /has no field "name", which must be 1 to 64/],
    [{ name: '' }, /field "name" that must be 1 to 64/],
    [{ name: 'Acme' }, /field "name"/],
    [{ name: 'auto' }, /field "name" .* not "auto" or "generic"/],
    [{ name: 'generic' }, /field "name"/],
    [{ recognises: undefined }, /has no field "recognises", which must be a function/],
    [{ read: [] }, /field "read" that must be a function/],
    [{ redelivers: 'no' }, /field "redelivers" that must be true or false/],
    [{ deadlineMs: 0 }, /field "deadlineMs" that must be milliseconds/],
    [{ deadlineMs: '3000' }, /field "deadlineMs"/],
    [{ replays: 1 }, /field "replays" that must be true, false or a function/],
    [{ twins: null }, /field "twins"/],
    [{ recognizes: () => true }, /unknown field "recognizes"; there are: name, redelivers/],
    [{ constructor: 1 }, /unknown field "constructor"/],
  ]

  it.each(wrong)('names the field: %o', (fields, problem) => {
    const preset = { ...least, ...fields }
    expect(() => defineProvider(preset)).toThrow(problem)
    expect(() => defineProvider(preset)).toThrow(TypeError)
  })

  it('takes nothing but an object', () => {
    for (const odd of [undefined, null, 'acme', 7, [], () => true])
      expect(() => defineProvider(odd as never)).toThrow(/a provider must be an object/)
  })
})

describe('the option provider', () => {
  const receiverOf = (options: Parameters<typeof resolveOptions>[0]) => {
    const resolved = resolveOptions({ store: 'memory:', logger: false, ...options })
    return createReceiver(resolved, resolved.logger)
  }
  const incoming = { method: 'POST', url: '/', headers: {}, body: {}, rawBody: Buffer.from('{}') }

  it('takes a provider, which then is the only one', () => {
    const receive = receiverOf({ provider: defineProvider(least) })
    expect(receive(incoming)).toMatchObject({ outcome: 'delivery', delivery: { provider: 'acme' } })
    const none = receiverOf({ provider: defineProvider({ ...least, recognises: () => false }) })
    const cloud = { object: 'whatsapp_business_account', entry: [] }
    expect(none({ ...incoming, body: cloud })).toEqual({ outcome: 'untouched' })
  })

  it('puts its name to what the option key reads', () => {
    const receive = receiverOf({ provider: defineProvider(least), key: { messageId: 'id' } })
    expect(receive({ ...incoming, body: { id: 'a' } })).toMatchObject({ delivery: { provider: 'acme' } })
  })

  it('says what is wrong with one that nobody defined', () => {
    const half = { name: 'acme', redelivers: true, read: least.read } as unknown as Provider
    expect(() => receiverOf({ provider: half })).toThrow(
      /option "provider" given as an object has no field "recognises"/,
    )
    expect(() => resolveOptions({ provider: [] as never })).toThrow(/option "provider" takes "auto"/)
    expect(() => receiverOf({ provider: 'acme' })).toThrow(/defineProvider/)
  })

  it('takes a secret by its name, and none where it checks nothing', () => {
    const signed = defineProvider({ ...least, isSigned: (_delivery, secret) => secret === 'right' })
    for (const secret of ['right', ['wrong', 'right'], { acme: 'right' }])
      expect(receiverOf({ provider: signed, secret })(incoming).outcome).toBe('delivery')
    expect(receiverOf({ provider: signed, secret: 'wrong' })(incoming).outcome).toBe('unsigned')
    expect(() => receiverOf({ provider: signed, secret: { acne: 'x' } })).toThrow(/given for "acne"/)
    expect(() => receiverOf({ provider: defineProvider(least), secret: 'x' })).toThrow(
      /option "secret" cannot be checked: provider "acme"/,
    )
  })

  it('tells the sender why a delivery cannot be read', () => {
    const receive = receiverOf({ provider: defineProvider({ ...least, refuses: () => 'No reason.' }) })
    expect(receive(incoming)).toEqual({ outcome: 'unreadable', provider: 'acme', detail: 'No reason.' })
  })
})
