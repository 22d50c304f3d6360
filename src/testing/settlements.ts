/** How leases end: completed, failed, released, lost, repeated. */
import assert from 'node:assert/strict'
import type { Store } from '../store/store.ts'
import {
  acquire,
  ask,
  assertNear,
  complete,
  keysHeld,
  type Lease,
  LONG_MS,
  look,
  messageOf,
  only,
  part,
  rowOf,
  SHORT_MS,
  settle,
  settlementOf,
} from './asking.ts'
import { untilForgotten, untilStale } from './waiting.ts'
import type { Check } from './world.ts'

export const settleChecks: readonly Check[] = [
  {
    promise: 'a completed settlement removes the rows and writes the messages',
    run: async ({ open }) => completedSettlement(await open()),
  },
  {
    promise: 'a failed settlement keeps the error; completed later, the message counts two attempts',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'm', { outcome: 'failed', error: 'the model is down' })
      const failed = await messageOf(store, 'm')
      assert.deepEqual([failed?.status, failed?.attempts, failed?.lastError], ['failed', 1, 'the model is down'])
      assert.deepEqual(await look(store, ['m']), [])
      await complete(store, 'm')
      const completed = await messageOf(store, 'm')
      assert.deepEqual([completed?.status, completed?.attempts], ['completed', 2])
    },
  },
  {
    promise: 'a failed settlement marks each of its messages',
    run: async ({ open }) => {
      const store = await open()
      const keys = ['m1', 'm2', 'm3']
      const lease = await acquire(store, part(['A'], keys))
      assert.equal(await settle(store, lease, { outcome: 'failed', error: 'down' }), 'settled')
      for (const key of keys) assert.equal((await messageOf(store, key))?.status, 'failed')
    },
  },
  {
    promise: 'a settlement tells of those leases, and only of those, for any row of which somebody else waits',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      const keys = ['A', 'B', 'C', 'D']
      const leases = await Promise.all(keys.map((key) => acquire(first, part([key, `${key}2`], [`m${key}`]))))
      for (const key of ['B', 'C2']) assert.equal((await ask(second, part([key], ['other']))).outcome, 'held')
      const verdicts = await first.settle(leases.map((lease) => settlementOf(lease)))
      assert.deepEqual(verdicts, ['settled', 'contended', 'contended', 'settled'])
      for (const key of keys) assert.equal((await look(second, [`m${key}`], key)).length, 1)
      assert.deepEqual(await keysHeld(second), [])
    },
  },
  {
    promise: 'a released settlement removes the rows and leaves messages untouched',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'm1', { outcome: 'failed', error: 'down' })
      const before = await messageOf(store, 'm1')
      const lease = await acquire(store, part(['A'], ['m1', 'm2']))
      assert.equal(await settle(store, lease, { outcome: 'released' }), 'settled')
      assert.deepEqual(await keysHeld(store), [])
      assert.deepEqual(await messageOf(store, 'm1'), before)
      assert.equal(await messageOf(store, 'm2'), undefined)
    },
  },
  {
    promise: 'a message that is to be remembered for less, or for more, than the rest of its settlement is',
    run: async ({ open }) => {
      const store = await open()
      for (const [name, own, others] of [
        ['brief', 1, LONG_MS],
        ['long', LONG_MS, 1],
      ] as const) {
        const lease = await acquire(store, part(['A'], [name, `beside ${name}`]))
        const messages = lease.messages.map((one) => (one.key === name ? { ...one, retentionMs: own } : one))
        assert.equal(await settle(store, { ...lease, messages }, { retentionMs: others }), 'settled')
      }
      for (const key of ['brief', 'beside long']) await untilForgotten(store, key)
      const left = await look(store, ['brief', 'beside brief', 'long', 'beside long'])
      assert.deepEqual(left.map(({ key }) => key).sort(), ['beside brief', 'long'])
    },
  },
  {
    promise: 'a settlement by another owner or with another token is lost and touches nothing',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A'], ['m']))
      await assertLost(store, { ...lease, owner: 'stranger' }, 'A')
      for (const fencingToken of [lease.token - 1, lease.token + 1]) {
        await assertLost(store, { ...lease, rows: [{ key: 'A', fencingToken }] }, 'A')
      }
      assert.equal(await settle(store, lease), 'settled')
    },
  },
  {
    promise: 'a settlement of a row that is gone is lost and writes no message',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A'], ['m']))
      assert.equal(await settle(store, lease, { outcome: 'released' }), 'settled')
      assert.equal(await settle(store, lease), 'lost')
      assert.equal(await messageOf(store, 'm'), undefined)
    },
  },
  {
    promise: 'a settlement after a takeover is lost: neither the successor’s row nor its message changes',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      const lease = await acquire(first, part(['A'], ['m']), { staleAfterMs: SHORT_MS })
      await untilStale(first, 'A')
      const next = await acquire(second, part(['A'], ['m']))
      for (const outcome of ['completed', 'failed', 'released'] as const) {
        const before = await rowOf(second, 'A')
        assert.equal(await settle(first, lease, { outcome }), 'lost')
        assert.deepEqual(await rowOf(second, 'A'), before)
        assert.equal(await messageOf(second, 'm'), undefined)
      }
      assert.equal(await settle(second, next), 'settled')
      const completed = await messageOf(second, 'm')
      assert.equal(await settle(first, lease, { outcome: 'failed', error: 'late' }), 'lost')
      assert.deepEqual(await messageOf(second, 'm'), completed)
    },
  },
  {
    promise: 'a settlement of several rows of which one is lost removes none and writes no message',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A', 'B', 'C'], ['m']))
      await store.release(['B'])
      await acquire(store, part(['B'], ['other']))
      assert.equal(await settle(store, lease), 'lost')
      assert.deepEqual(await keysHeld(store), ['A', 'B', 'C'])
      assert.equal(await messageOf(store, 'm'), undefined)
    },
  },
  {
    promise: 'a completed message is never turned into a failed one, not even by a holder under another session',
    run: async ({ open }) => {
      const store = await open()
      const [first, second] = [await acquire(store, part(['A'], ['m'])), await acquire(store, part(['B'], ['m']))]
      assert.equal(await settle(store, first, { response: Buffer.from('yes') }), 'settled')
      const completed = { keys: ['m'], status: 'completed', limit: 2 } as const
      const before = await store.messages(completed)
      assert.equal(await settle(store, second, { outcome: 'failed', error: 'no' }), 'settled')
      assert.deepEqual(only(await store.messages(completed)), only(before))
      assert.equal(Buffer.from(only(await look(store, ['m'])).response ?? []).toString(), 'yes')
    },
  },
  {
    promise: 'a settlement repeated under the same owner is settled again, and counts once',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      for (const outcome of ['completed', 'failed'] as const) {
        const lease = await acquire(first, part(['A'], [outcome]))
        assert.equal(await settle(first, lease, { outcome }), 'settled')
        const before = await messageOf(first, outcome)
        assert.equal(await settle(second, lease, { outcome }), 'settled')
        assert.equal(before?.attempts, 1)
        assert.deepEqual(await messageOf(first, outcome), before)
      }
    },
  },
  {
    promise: 'a repeated settlement does not touch the row of who came next',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      const lease = await acquire(first, part(['A'], ['m1']))
      assert.equal(await settle(first, lease), 'settled')
      await acquire(second, part(['A'], ['m2']))
      const before = await rowOf(second, 'A')
      assert.equal(await settle(first, lease), 'settled')
      assert.deepEqual(await rowOf(second, 'A'), before)
    },
  },
  {
    promise: 'a settlement repeated after somebody else handled the message is lost and leaves it alone',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A'], ['m']))
      assert.equal(await settle(store, lease, { outcome: 'failed' }), 'settled')
      await complete(store, 'm')
      const before = await messageOf(store, 'm')
      assert.equal(await settle(store, lease, { outcome: 'failed' }), 'lost')
      assert.deepEqual(await messageOf(store, 'm'), before)
    },
  },
  {
    promise: 'a message whose retention is over can be acquired again and is settled anew',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'm', { retentionMs: SHORT_MS, response: Buffer.from('old') })
      await untilForgotten(store, 'm')
      const lease = await acquire(store, part(['A'], ['m']))
      assert.deepEqual(lease.verdict.completed, [])
      assert.equal(await settle(store, lease), 'settled')
      const { outcome, completed } = await ask(store, part(['A'], ['m']))
      assert.deepEqual([outcome, completed], ['completed', [{ key: 'm', response: null }]])
    },
  },
  { promise: 'a response comes back byte by byte', run: async ({ open }) => responses(await open()) },
  {
    promise: 'an error text is kept up to 1000 characters, whatever it holds',
    run: async ({ open }) => errors(await open()),
  },
]

async function completedSettlement(store: Store): Promise<void> {
  const messages = [{ key: 'm1', home: 'A', provider: 'whatsapp-cloud', device: null, id: 'wamid.1' }]
  const lease = await acquire(store, { ...part(['A']), messages })
  assert.equal(await settle(store, lease, { nodeId: 'node-7', retentionMs: LONG_MS }), 'settled')
  assert.deepEqual(await keysHeld(store), [])
  const written = await messageOf(store, 'm1')
  assert.ok(written?.finishedAt && written.expiresAt)
  const { startedAt, finishedAt, expiresAt, ...rest } = written
  assert.ok(startedAt === null || startedAt <= finishedAt)
  assertNear(expiresAt - finishedAt, LONG_MS)
  assert.deepEqual(rest, {
    key: 'm1',
    provider: 'whatsapp-cloud',
    device: null,
    messageId: 'wamid.1',
    sessionKey: 'A',
    status: 'completed',
    owner: lease.owner,
    nodeId: 'node-7',
    fencingToken: lease.token,
    attempts: 1,
    lastError: null,
    receivedAt: null,
  })
}

async function assertLost(store: Store, lease: Lease, rowKey: string): Promise<void> {
  const before = await rowOf(store, rowKey)
  for (const outcome of ['completed', 'failed', 'released'] as const) {
    assert.equal(await settle(store, lease, { outcome }), 'lost', outcome)
    assert.deepEqual(await rowOf(store, rowKey), before)
  }
  for (const { key } of lease.messages) assert.equal(await messageOf(store, key), undefined)
}

async function responses(store: Store): Promise<void> {
  const everyByte = Uint8Array.from({ length: 256 }, (_, byte) => byte)
  const large = Uint8Array.from({ length: 65_536 }, (_, index) => index % 251)
  const stored = { everyByte, large, empty: new Uint8Array(0), none: null }
  for (const [key, response] of Object.entries(stored)) await complete(store, key, { response })
  for (const [key, response] of Object.entries(stored)) {
    const { completed } = await ask(store, part(['A'], [key]))
    for (const answer of [only(completed), only(await look(store, [key]))]) {
      if (response === null) assert.equal(answer.response, null, key)
      else assert.ok(answer.response && Buffer.compare(answer.response, response) === 0, `${key} came back changed`)
    }
  }
}

async function errors(store: Store): Promise<void> {
  const texts = { long: 'x'.repeat(5000), emoji: '😀'.repeat(5000), quotes: `'; drop table "x"; -- \\ %`, short: 'é' }
  for (const [key, error] of Object.entries(texts)) {
    await complete(store, key, { outcome: 'failed', error })
    const kept = (await messageOf(store, key))?.lastError
    assert.ok(kept && error.startsWith(kept), `${key}: not the error's beginning: ${kept}`)
    assert.ok(kept.isWellFormed() && [...kept].length <= 1000, `${key}: ${kept.length} units are kept`)
    if (key !== 'emoji') assert.equal(kept.length, Math.min(error.length, 1000))
  }
  for (const error of ['a\0b', 'a\ud800b', '']) {
    await complete(store, `odd ${error.length}`, { outcome: 'failed', error })
  }
}
