/** What the user's own key finds in a delivery. */
import { expect, it } from 'vitest'
import { type KeyFields, type KeyReader, readByKey } from '../../src/providers/generic.ts'

function read(key: KeyReader | KeyFields, body: unknown = {}) {
  return readByKey(key, { method: 'POST', url: '/hook', headers: { 'webhook-id': 'evt_1' }, body })
}

it('reads the named fields at dotted paths, through arrays too', () => {
  const fields = { messageId: 'data.items.0.id', prospect: 'data.from', device: 'instance' }
  expect(read(fields, { instance: 'bot', data: { from: '49151', items: [{ id: 'a' }] } })).toEqual([
    { id: 'a', prospect: '49151', device: 'bot', session: null, kind: 'message' },
  ])
})

it('asks the function, which sees the whole request', () => {
  expect(read(({ headers, url }) => ({ messageId: headers['webhook-id'], session: url }))).toEqual([
    { id: 'evt_1', prospect: null, device: null, session: '/hook', kind: 'message' },
  ])
})

it('takes several messages', () => {
  expect(read(() => [{ messageId: 'a' }, { messageId: 'b' }]).map(({ id }) => id)).toEqual(['a', 'b'])
})

it('finds nothing where nothing can be keyed on', () => {
  for (const nothing of [undefined, null, [], {}, { device: 'bot' }, { messageId: '0', prospect: '' }]) {
    expect(read(() => nothing)).toEqual([])
  }
  expect(read({ messageId: 'id' }, undefined)).toEqual([])
  expect(read({ messageId: 'constructor.name', prospect: '__proto__.x' }, {})).toEqual([])
})

it('hands on values of the wrong type as they are', () => {
  expect(read({ messageId: 'id' }, { id: 17 })[0]?.id).toBe(17)
})
