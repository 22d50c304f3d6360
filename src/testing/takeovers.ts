/** Stale rows, forced release and the fencing token. */
import assert from 'node:assert/strict'
import type { Holder, Store } from '../store/store.ts'
import {
  ALL,
  acquire,
  ask,
  complete,
  keysHeld,
  messageOf,
  only,
  part,
  renew,
  rowOf,
  SHORT_MS,
  settle,
} from './asking.ts'
import { until, untilClockPasses, untilStale } from './waiting.ts'
import type { Check } from './world.ts'

/** What clocks that count whole milliseconds, or tick apart from ours, can be off by. */
const ROUNDING_MS = 10

export const takeoverChecks: readonly Check[] = [
  {
    promise: 'a row is taken over once it is stale and not before; the answer tells whom it was taken from',
    run: async ({ open }) => notBeforeStale(await open(), await open()),
  },
  {
    promise: 'a takeover has the larger token, also over a last token that is ahead of the clock',
    run: async ({ open }) => {
      const store = await open()
      const ahead = (await acquire(store, part(['clock']))).token + 10 ** 12
      const first = await acquire(store, part(['A']), { tokenAbove: ahead, staleAfterMs: SHORT_MS })
      await untilStale(store, 'A')
      const second = await acquire(store, part(['B', 'A']))
      assert.ok(second.token > first.token, `${second.token} after ${first.token}`)
      assert.equal((await rowOf(store, 'B')).fencingToken, second.token)
    },
  },
  {
    promise: 'the token is larger than the largest that the node has seen, of a row that is taken over too',
    run: async ({ open }) => {
      const store = await open()
      await acquire(store, part(['stale']), { staleAfterMs: 1 })
      await untilStale(store, 'stale')
      let seen = (await acquire(store, part(['A']))).token
      for (const key of ['B', 'stale']) {
        seen += 10 ** 12
        const { token } = await acquire(store, part([key]), { tokenAbove: seen })
        assert.ok(token > seen)
        assert.equal((await rowOf(store, key)).fencingToken, token)
      }
    },
  },
  {
    promise: 'the token grows after every clean release, from handle to handle',
    run: async ({ open }) => {
      const stores = [await open(), await open()]
      let last = 0
      for (let turn = 0; turn < 200; turn++) {
        const store = stores[turn % 2] as Store
        const lease = await acquire(store, part(['A']))
        assert.ok(lease.token > last, `turn ${turn}: ${lease.token} after ${last}`)
        last = lease.token
        assert.equal(await settle(store, lease, { outcome: 'released' }), 'settled')
      }
    },
  },
  {
    promise: 'the token grows also where a clean-up has removed the row, stale or released by force',
    run: async ({ open }) => {
      const store = await open()
      const first = await acquire(store, part(['A']), { staleAfterMs: 1 })
      await untilStale(store, 'A')
      await store.cleanup({ abandonedAfterMs: 0, limit: ALL })
      const second = await acquire(store, part(['A']))
      assert.ok(second.token > first.token, `${second.token} after ${first.token}`)
      await store.release(['A'])
      await untilClockPasses(store, (await rowOf(store, 'A')).expiresAt)
      await store.cleanup({ abandonedAfterMs: 0, limit: ALL })
      const third = await acquire(store, part(['A']))
      assert.ok(third.token > second.token, `${third.token} after ${second.token}`)
      assert.equal(third.verdict.takeover, null)
    },
  },
  {
    promise: 'who takes over is the holder in every respect',
    run: async ({ open }) => {
      const store = await open()
      await acquire(store, part(['A'], ['m1']), { nodeId: 'node-1', staleAfterMs: SHORT_MS })
      await untilStale(store, 'A')
      const before = await rowOf(store, 'A')
      const { owner, token } = await acquire(store, part(['A'], ['m2', 'm3']), { nodeId: 'node-2' })
      const after = await rowOf(store, 'A')
      assert.deepEqual([...after.messageKeys].sort(), ['m2', 'm3'])
      assert.deepEqual([after.owner, after.nodeId, after.fencingToken, after.stale], [owner, 'node-2', token, false])
      assert.ok(after.lockedAt > before.lockedAt && after.renewedAt > before.renewedAt)
    },
  },
  {
    promise: 'a stale row whose message is completed is not taken over',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'm')
      await acquire(store, part(['A'], ['other']), { staleAfterMs: 1 })
      await untilStale(store, 'A')
      assert.equal((await ask(store, part(['A'], ['m']))).outcome, 'completed')
      const rows = await store.sessions({ keys: ['A'], limit: 1 })
      assert.ok(rows.every(({ stale }) => stale))
    },
  },
  {
    promise: 'a row released by force is kept, stale and without owner; the call tells how it was',
    run: async ({ open }) => {
      const [store, admin] = [await open(), await open()]
      await acquire(store, part(['A'], ['m']))
      await acquire(store, part(['B']))
      const before = await rowOf(store, 'A')
      assert.deepEqual(only(await admin.release(['A', 'nobody'])), before)
      const after = await rowOf(store, 'A')
      assert.deepEqual([after.owner, after.stale, after.fencingToken], [null, true, before.fencingToken])
      assert.equal((await rowOf(store, 'B')).stale, false)
      assert.deepEqual(await admin.release(['nobody']), [])
    },
  },
  {
    promise: 'the holder of a row released by force cannot renew or settle it',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A', 'B'], ['m']))
      await store.release(['A'])
      const before = await rowOf(store, 'A')
      assert.deepEqual(await renew(store, lease), [false, true])
      assert.equal(await settle(store, lease), 'lost')
      assert.deepEqual(await rowOf(store, 'A'), before)
      assert.deepEqual(await keysHeld(store), ['B'])
      assert.equal(await messageOf(store, 'm'), undefined)
    },
  },
  {
    promise: 'a release of stale rows alone leaves live ones, and those that were released before',
    run: async ({ open }) => {
      const [store, admin] = [await open(), await open()]
      const live = await acquire(store, part(['live']))
      await acquire(store, part(['stale']), { staleAfterMs: 1 })
      await acquire(store, part(['released']))
      await admin.release(['released'])
      await untilStale(store, 'stale')
      const keys = ['live', 'nobody', 'released', 'stale']
      assert.deepEqual(
        (await admin.release(keys, { onlyStale: true })).map(({ key }) => key),
        ['stale'],
      )
      assert.deepEqual(await renew(store, live), [true])
      assert.equal((await rowOf(store, 'stale')).owner, null)
      assert.deepEqual(await admin.release(keys, { onlyStale: true }), [])
    },
  },
  {
    promise: 'a row released by force is no longer listed or counted as held',
    run: async ({ open }) => {
      const store = await open()
      await acquire(store, part(['A']))
      await store.release(['A'])
      assert.deepEqual(await store.sessions({ limit: 10 }), [])
      const { sessions, staleSessions, nodes } = await store.stats()
      assert.deepEqual([sessions, staleSessions, nodes], [0, 0, []])
    },
  },
  {
    promise: 'a row released by force goes to the next claim, with a larger token',
    run: async ({ open }) => {
      const store = await open()
      const ahead = (await acquire(store, part(['clock']))).token + 10 ** 12
      const first = await acquire(store, part(['A'], ['m']), { tokenAbove: ahead })
      await store.release(['A'])
      const next = await acquire(store, part(['A'], ['m']))
      assert.ok(next.token > first.token)
      assert.equal(next.verdict.takeover?.owner, null)
      assert.deepEqual(await renew(store, first), [false])
      assert.deepEqual(await renew(store, next), [true])
    },
  },
]

async function notBeforeStale(first: Store, second: Store): Promise<void> {
  const sentAt = performance.now()
  const { owner, token } = await acquire(first, part(['A'], ['m']), { nodeId: 'node-7', staleAfterMs: SHORT_MS })
  const next = await until('the stale row is taken over', async () => {
    const verdict = await ask(second, part(['A'], ['m']))
    assert.ok(verdict.outcome === 'held' || verdict.outcome === 'acquired', verdict.outcome)
    return verdict.outcome === 'acquired' && verdict
  })
  const passedMs = performance.now() - sentAt
  assert.ok(passedMs >= SHORT_MS - ROUNDING_MS, `taken over after ${passedMs} ms of ${SHORT_MS}`)
  assert.ok(next.fencingToken > token)
  const holder: Holder | null = next.takeover
  assert.deepEqual([holder?.owner, holder?.nodeId, holder?.messageKeys], [owner, 'node-7', ['m']])
  assert.ok(holder && holder.silentForMs >= SHORT_MS - 1 && holder.heldForMs >= holder.silentForMs)
}
