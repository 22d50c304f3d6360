/** Keys are bytes: what differs stays apart, whatever it is made of. */
import assert from 'node:assert/strict'
import { type ClaimPart, MAX_KEY_BYTES } from '../store/store.ts'
import {
  acquire,
  claimOf,
  keysHeld,
  leaseOf,
  look,
  message,
  messageOf,
  part,
  rowOf,
  settle,
  settlementOf,
} from './asking.ts'
import type { Check } from './world.ts'

const FULL = 'k'.repeat(MAX_KEY_BYTES - 1)
/** Pairs that some collation, padding, trimming, cutting or quoting takes for the same. */
export const KEYS = [
  ...['a', 'A', 'ä', 'Ä', 'á', 'a ', ' a', 'a  ', 'a\t', 'a\n'],
  // é as one character and as two; the same with half-width, sharp s and dotless i
  ...['caf\u00e9', 'cafe\u0301', 'cafe', 'ｋ', 'k', 'ß', 'ss', 'ı', 'i', 'I', 'İ'],
  ...['😀', '😁', '👨‍👩‍👧', '\u{10ffff}', '\u200b', '\ufeff', '\u0001', '\u001a'],
  ...[`'; drop table x; --`, `'`, `''`, '"', '\\', '\\\\', "\\'", '%', '_', '?', ':a', '$1', '{a}', '`', '[1]', 'null'],
  ...['1', '01', '1.0', '1e0', '0x61', '["a"]', '["a","b"]', ','],
  ...[`${FULL}1`, `${FULL}2`, FULL, '😀'.repeat(63), `${'😀'.repeat(63)}abc`, `${'😀'.repeat(63)}abC`],
]

export const keyChecks: readonly Check[] = [
  {
    promise: 'row keys are compared as bytes: none stands for another, up to 255 bytes',
    run: async ({ open }) => {
      const store = await open()
      for (const key of KEYS) await acquire(store, part([key]))
      assert.deepEqual(await keysHeld(store), [...KEYS].sort())
      for (const key of KEYS) assert.equal((await rowOf(store, key)).key, key)
    },
  },
  {
    promise: 'message keys are compared as bytes: none stands for another, up to 255 bytes',
    run: async ({ open }) => {
      const store = await open()
      const [done, other] = [KEYS.filter((_, index) => index % 2 === 0), KEYS.filter((_, index) => index % 2 === 1)]
      assert.equal(await settle(store, await acquire(store, part(['A'], done))), 'settled')
      const looked = await look(store, KEYS)
      assert.deepEqual(looked.map(({ key }) => key).sort(), [...done].sort())
      const claim = claimOf([part(['A'], KEYS)])
      const lease = leaseOf(claim, 0, (await store.claim([claim]))[0]?.[0])
      assert.deepEqual(lease.verdict.completed.map(({ key }) => key).sort(), [...done].sort())
      for (const key of done) assert.equal((await messageOf(store, key))?.key, key)
      for (const key of other) assert.equal(await messageOf(store, key), undefined)
    },
  },
  {
    promise: 'all keys go through one batch, and the messages in hand are told as they were given',
    run: async ({ open }) => {
      const store = await open()
      const claims = KEYS.map((key) => claimOf([part([key], [key])]))
      const leases = (await store.claim(claims)).map((verdict, index) => leaseOf(claims[index] as never, 0, verdict[0]))
      for (const key of KEYS) assert.deepEqual((await rowOf(store, key)).messageKeys, [key])
      const verdicts = await store.settle(leases.map((lease) => settlementOf(lease)))
      assert.ok(verdicts.every((verdict) => verdict === 'settled'))
      assert.equal((await store.look(KEYS.map((key) => message(key, key)))).length, KEYS.length)
    },
  },
  {
    promise: 'what people read beside the key may be anything of up to 512 bytes',
    run: async ({ open }) => {
      const store = await open()
      const texts = ['x'.repeat(512), '😀'.repeat(128), `'; drop table x; -- \\`, 'Ä ', 'a\0b', 'a\ud800b', '']
      for (const [index, text] of texts.entries()) {
        const rows = [{ key: `row ${index}`, prospect: text, device: text }]
        const messages = [{ key: `message ${index}`, home: `row ${index}`, provider: 'test', device: text, id: text }]
        const wanted: ClaimPart = { rows, messages }
        const lease = await acquire(store, wanted)
        const { prospect, device } = await rowOf(store, `row ${index}`)
        assert.equal(await settle(store, lease), 'settled')
        const written = await messageOf(store, `message ${index}`)
        // NUL and lone surrogates may be shown as something else: some databases hold neither.
        if (text.includes('\0') || !text.isWellFormed()) continue
        assert.deepEqual([prospect, device, written?.device, written?.messageId], [text, text, text, text])
      }
    },
  },
  {
    promise: 'a part may have many rows and many messages',
    run: async ({ open }) => {
      const store = await open()
      const rows = Array.from({ length: 20 }, (_, index) => `${'r'.repeat(240)}${index}`)
      const messages = Array.from({ length: 200 }, (_, index) => `${'m'.repeat(240)}${index}`)
      const lease = await acquire(store, part(rows, messages))
      assert.deepEqual([...(await rowOf(store, rows[7] as string)).messageKeys].sort(), [...messages].sort())
      assert.equal(await settle(store, lease), 'settled')
      assert.equal((await look(store, messages, rows[0])).length, messages.length)
    },
  },
]
