/** Many items in one call: each has its own verdict, in the order given. */
import assert from 'node:assert/strict'
import type { Store } from '../store/store.ts'
import {
  acquire,
  assertNear,
  claimOf,
  complete,
  keysHeld,
  type Lease,
  LONG_MS,
  leaseOf,
  part,
  rowOf,
  settlementOf,
} from './asking.ts'
import type { Check } from './world.ts'

/** In no order of their own, so that a store that sorts shows. */
const NUMBERS = Array.from({ length: 300 }, (_, index) => (index * 7919) % 300)

export const batchChecks: readonly Check[] = [
  {
    promise: 'an empty batch is answered with an empty list',
    run: async ({ open }) => {
      const store = await open()
      assert.deepEqual(await store.claim([]), [])
      assert.deepEqual(await store.look([]), [])
      assert.deepEqual(await store.renew([]), [])
      assert.deepEqual(await store.settle([]), [])
      assert.deepEqual(await store.release([]), [])
      await acquire(store, part(['A']))
      assert.deepEqual(await store.sessions({ keys: [], limit: 10 }), [])
      assert.deepEqual(await store.messages({ keys: [], limit: 10 }), [])
    },
  },
  {
    promise: 'claims of one batch are answered one by one, in their order, whatever becomes of the others',
    run: async ({ open }) => mixedClaims(await open(), await open()),
  },
  {
    promise: 'renewals of one batch are answered one by one, in their order',
    run: async ({ open }) => {
      const store = await open()
      const leases = await acquireMany(store)
      await store.release(leases.filter((_, index) => index % 3 === 0).map((lease) => keyOf(lease)))
      const renewals = leases.map(({ owner, rows }) => ({ owner, rows, staleAfterMs: LONG_MS * 2 }))
      const verdicts = await store.renew(renewals)
      const expected = leases.map((_, index) => [index % 3 !== 0])
      assert.deepEqual(verdicts, expected)
      const { renewedAt, expiresAt } = await rowOf(store, keyOf(leases[1] as Lease))
      assert.ok(expiresAt - renewedAt > LONG_MS)
    },
  },
  {
    promise: 'renewals of one batch may differ in how long they last',
    run: async ({ open }) => {
      const store = await open()
      const leases = [await acquire(store, part(['A'])), await acquire(store, part(['B']))]
      const renewals = leases.map(({ owner, rows }, index) => ({ owner, rows, staleAfterMs: LONG_MS * (index + 1) }))
      assert.deepEqual(await store.renew(renewals), [[true], [true]])
      for (const [index, key] of ['A', 'B'].entries()) {
        const { renewedAt, expiresAt } = await rowOf(store, key)
        assertNear(expiresAt - renewedAt, LONG_MS * (index + 1))
      }
    },
  },
  {
    promise: 'settlements of one batch are answered one by one; a lost one harms none of the others',
    run: async ({ open }) => mixedSettlements(await open()),
  },
]

async function mixedClaims(store: Store, other: Store): Promise<void> {
  const kinds = NUMBERS.map((number) => ['new', 'held', 'completed', 'partly'][number % 4])
  const held: Lease[] = []
  for (const [index, kind] of kinds.entries()) {
    if (kind === 'held') held.push(await acquire(other, part([`row ${index}`], [`other ${index}`])))
    if (kind === 'completed') await complete(other, `m ${index}`, { response: Buffer.from(`${index}`) }, `row ${index}`)
    if (kind === 'partly') await complete(other, `done ${index}`, {}, `row ${index}`)
  }
  const claims = kinds.map((kind, index) =>
    claimOf([part([`row ${index}`], kind === 'partly' ? [`m ${index}`, `done ${index}`] : [`m ${index}`])]),
  )
  const verdicts = await store.claim(claims)
  assert.equal(verdicts.length, claims.length)
  for (const [index, kind] of kinds.entries()) {
    const verdict = verdicts[index]?.[0]
    const expected = kind === 'held' || kind === 'completed' ? kind : 'acquired'
    assert.equal(verdict?.outcome, expected, `item ${index}`)
    if (verdict.outcome === 'held') assert.deepEqual(verdict.holder.messageKeys, [`other ${index}`])
    const done = verdict.completed.map(({ key, response }) => [key, response && Buffer.from(response).toString()])
    if (kind === 'completed') assert.deepEqual(done, [[`m ${index}`, `${index}`]])
    if (kind === 'partly') assert.deepEqual(done, [[`done ${index}`, null]])
  }
  const expectedKeys = kinds.flatMap((kind, index) => (kind === 'completed' ? [] : [`row ${index}`]))
  assert.deepEqual(await keysHeld(store), expectedKeys.sort())
}

async function mixedSettlements(store: Store): Promise<void> {
  const leases = await acquireMany(store)
  const outcomes = ['completed', 'failed', 'released'] as const
  const isLost = (index: number) => index % 5 === 0
  await store.release(leases.filter((_, index) => isLost(index)).map((lease) => keyOf(lease)))
  const settlements = leases.map((lease, index) => {
    const outcome = outcomes[index % 3] ?? 'completed'
    const told = { response: Buffer.from(`${index}`), error: outcome === 'failed' ? `error ${index}` : null }
    return settlementOf(lease, { outcome, ...told })
  })
  const verdicts = await store.settle(settlements)
  assert.deepEqual(
    verdicts,
    leases.map((_, index) => (isLost(index) ? 'lost' : 'settled')),
  )
  const written = new Map((await store.messages({ limit: 1000 })).map((row) => [row.key, row]))
  for (const [index, lease] of leases.entries()) {
    const row = written.get(lease.messages[0]?.key ?? '')
    const outcome = outcomes[index % 3]
    const untouched = isLost(index) || outcome === 'released'
    assert.equal(row?.status, untouched ? undefined : outcome, `item ${index}`)
    if (row?.status === 'failed') assert.equal(row.lastError, `error ${index}`)
    if (row) assert.deepEqual([row.owner, row.fencingToken], [lease.owner, lease.token])
  }
  const left = leases.filter((_, index) => isLost(index)).map((lease) => keyOf(lease))
  const rows = await store.sessions({ keys: leases.map((lease) => keyOf(lease)), limit: leases.length })
  assert.deepEqual(rows.map(({ key }) => key).sort(), left.sort())
}

async function acquireMany(store: Store): Promise<Lease[]> {
  const claims = NUMBERS.map((number) => claimOf([part([`row ${number}`], [`m ${number}`])]))
  const verdicts = await store.claim(claims)
  return claims.map((claim, index) => leaseOf(claim, 0, verdicts[index]?.[0]))
}

function keyOf(lease: Lease): string {
  return lease.rows[0]?.key ?? ''
}
