/** The heartbeat. */
import assert from 'node:assert/strict'
import type { Store } from '../store/store.ts'
import { acquire, ask, assertNear, LONG_MS, part, renew, rowOf, SHORT_MS, settle } from './asking.ts'
import { until, untilStale } from './waiting.ts'
import type { Check } from './world.ts'

export const renewChecks: readonly Check[] = [
  {
    promise: 'a renewed lease lives on: it is not taken over after its first expiry',
    run: async ({ open }) => renewedLivesOn(await open(), await open()),
  },
  {
    promise: 'a renewal counts from now, by the store’s clock, and changes nothing else',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A'], ['m']))
      await ask(store, part(['A']))
      const before = await rowOf(store, 'A')
      await until('the renewal shows', async () => {
        assert.deepEqual(await renew(store, lease, { staleAfterMs: LONG_MS * 2 }), [true])
        return (await rowOf(store, 'A')).renewedAt > before.renewedAt
      })
      const { renewedAt, expiresAt, ...after } = await rowOf(store, 'A')
      assertNear(expiresAt - renewedAt, LONG_MS * 2)
      assert.deepEqual({ ...before, ...after }, before)
    },
  },
  {
    promise: 'a renewal by another owner, with another token or of a missing row is refused and changes nothing',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A']))
      const before = await rowOf(store, 'A')
      const rows = [{ key: 'A', fencingToken: lease.token }]
      assert.deepEqual(await renew(store, lease, { owner: 'stranger', rows }), [false])
      assert.deepEqual(await renew(store, lease, { rows: [{ key: 'A', fencingToken: lease.token - 1 }] }), [false])
      assert.deepEqual(await renew(store, lease, { rows: [{ key: 'A', fencingToken: lease.token + 1 }] }), [false])
      assert.deepEqual(await renew(store, lease, { rows: [{ key: 'B', fencingToken: lease.token }] }), [false])
      assert.deepEqual(await rowOf(store, 'A'), before)
    },
  },
  {
    promise: 'a renewal is answered row by row, in its order',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['C', 'A', 'B']))
      await store.release(['A'])
      assert.deepEqual(await renew(store, lease), [true, false, true])
      assert.deepEqual(await renew(store, lease, { rows: [...lease.rows].reverse() }), [true, false, true])
      const [first, second, third] = lease.rows
      assert.ok(first && second && third)
      assert.deepEqual(await renew(store, lease, { rows: [second, third, first] }), [false, true, true])
    },
  },
  {
    promise: 'an expired lease that nobody took can be renewed, and is live again',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A'], ['m']), { staleAfterMs: SHORT_MS })
      await untilStale(store, 'A')
      assert.deepEqual(await renew(store, lease), [true])
      assert.equal((await rowOf(store, 'A')).stale, false)
      assert.equal((await ask(store, part(['A'], ['m']))).outcome, 'held')
    },
  },
  {
    promise: 'an expired lease that nobody took can be settled',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A'], ['m']), { staleAfterMs: SHORT_MS })
      await untilStale(store, 'A')
      assert.equal(await settle(store, lease), 'settled')
      assert.equal((await ask(store, part(['A'], ['m']))).outcome, 'completed')
    },
  },
  {
    promise: 'a lease that was taken over is not renewed, and its successor’s row stays as it is',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      const lease = await acquire(first, part(['A'], ['m']), { staleAfterMs: SHORT_MS })
      await untilStale(first, 'A')
      const next = await acquire(second, part(['A'], ['m']))
      const before = await rowOf(second, 'A')
      assert.deepEqual(await renew(first, lease), [false])
      assert.deepEqual(await renew(first, lease, { rows: next.rows }), [false])
      assert.deepEqual(await rowOf(second, 'A'), before)
    },
  },
]

async function renewedLivesOn(first: Store, second: Store): Promise<void> {
  const lease = await acquire(first, part(['A'], ['m']), { staleAfterMs: SHORT_MS * 2 })
  assert.deepEqual(await renew(first, lease), [true])
  await until('the first expiry has passed', async () => {
    const verdict = await ask(second, part(['A'], ['m']))
    assert.ok(verdict.outcome === 'held', `the renewed lease was lost: ${verdict.outcome}`)
    assert.ok(verdict.remainingMs > LONG_MS / 2)
    assert.ok(verdict.holder.silentForMs <= verdict.holder.heldForMs)
    return verdict.holder.heldForMs > SHORT_MS * 3
  })
  assert.equal(await settle(first, lease), 'settled')
}
