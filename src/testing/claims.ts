/** Who gets what: free, held and completed rows, parts and whole claims. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Store } from '../store/store.ts'
import {
  acquire,
  ask,
  assertNear,
  CLOCKS_APART_MS,
  claimOf,
  claimOnce,
  complete,
  keysHeld,
  LONG_MS,
  leaseOf,
  part,
  rowOf,
  settle,
} from './asking.ts'
import { untilStale } from './waiting.ts'
import type { Check } from './world.ts'

export const claimChecks: readonly Check[] = [
  {
    promise: 'a free row is acquired, and the table shows who holds it',
    run: async ({ open }) => freeRow(await open()),
  },
  {
    promise: 'a row without messages is acquired and held too',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A']))
      assert.equal((await ask(store, part(['A']))).outcome, 'held')
      assert.equal(await settle(store, lease), 'settled')
      assert.deepEqual(await keysHeld(store), [])
    },
  },
  {
    promise: 'prospect and device may be unknown',
    run: async ({ open }) => {
      const store = await open()
      await acquire(store, { rows: [{ key: 'A', prospect: null, device: null }], messages: [] })
      const { prospect, device } = await rowOf(store, 'A')
      assert.deepEqual({ prospect, device }, { prospect: null, device: null })
    },
  },
  {
    promise: 'a row of a live owner is held: the answer names the holder, its messages and the remaining time',
    run: async ({ open }) => heldRow(await open(), await open()),
  },
  {
    promise: 'a claim that is refused writes nothing but the mark that somebody waits',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      await acquire(first, part(['A'], ['m']))
      const before = await rowOf(first, 'A')
      assert.equal((await ask(second, part(['A', 'B'], ['other']), { nodeId: 'node-2' })).outcome, 'held')
      assert.equal(before.contended, false)
      assert.deepEqual(await rowOf(first, 'A'), { ...before, contended: true })
      assert.deepEqual(await keysHeld(first), ['A'])
    },
  },
  {
    promise: 'a claim that is refused keeps no stale row, be it of the part that is held or of another',
    run: async ({ open }) => refusedOverStale(await open()),
  },
  {
    promise: 'a claim repeated under its owner leaves the mark of who waits',
    run: async ({ open }) => {
      const store = await open()
      const claim = claimOf([part(['A'])])
      await claimOnce(store, claim)
      await ask(store, part(['A']))
      await claimOnce(store, claim)
      assert.equal((await rowOf(store, 'A')).contended, true)
    },
  },
  {
    promise: 'a completed message is answered completed, and the row just taken is given back',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      await complete(first, 'm', { response: Buffer.from('hello') })
      const verdict = await ask(second, part(['A'], ['m']))
      assert.deepEqual(verdict.outcome, 'completed')
      assert.deepEqual(plain(verdict.completed), [{ key: 'm', response: 'hello' }])
      assert.deepEqual(await keysHeld(first), [])
    },
  },
  {
    promise: 'a completed message is answered completed even while its session is held; the holder keeps it unmarked',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'm')
      await acquire(store, part(['A'], ['other']))
      const before = await rowOf(store, 'A')
      assert.equal((await ask(store, part(['A'], ['m']))).outcome, 'completed')
      assert.deepEqual(await rowOf(store, 'A'), before)
    },
  },
  {
    promise: 'a failed message is acquired again',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'm', { outcome: 'failed', error: 'down' })
      const { verdict } = await acquire(store, part(['A'], ['m']))
      assert.deepEqual(verdict.completed, [])
    },
  },
  {
    promise: 'a part of which some messages are completed is acquired, and the answer lists those',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'm2', { response: Buffer.from('two') })
      const { verdict } = await acquire(store, part(['A'], ['m1', 'm2', 'm3']))
      assert.deepEqual(plain(verdict.completed), [{ key: 'm2', response: 'two' }])
      const held = await ask(store, part(['A'], ['m4', 'm2']))
      assert.equal(held.outcome, 'held')
      assert.deepEqual(plain(held.completed), [{ key: 'm2', response: 'two' }])
    },
  },
  {
    promise: 'a part of several rows gets all of them under one token, or none',
    run: async ({ open }) => severalRows(await open()),
  },
  {
    promise: 'a whole claim keeps nothing when one of its parts is held',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'done', {}, 'C')
      await acquire(store, part(['B'], ['mine']))
      const parts = [part(['A'], ['m1']), part(['B'], ['m2']), part(['C'], ['done']), part(['D'], ['m3'])]
      const verdicts = await claimOnce(store, claimOf(parts, { whole: true }))
      assert.deepEqual(outcomes(verdicts), ['free', 'held', 'completed', 'free'])
      assert.deepEqual(await keysHeld(store), ['B'])
    },
  },
  {
    promise: 'a claim that need not be whole takes what is free',
    run: async ({ open }) => {
      const store = await open()
      await complete(store, 'done', {}, 'C')
      await acquire(store, part(['B'], ['mine']))
      const parts = [part(['A'], ['m1']), part(['B'], ['m2']), part(['C'], ['done']), part(['D'], ['m3'])]
      const claim = claimOf(parts, { whole: false })
      const verdicts = await claimOnce(store, claim)
      assert.deepEqual(outcomes(verdicts), ['acquired', 'held', 'completed', 'acquired'])
      assert.deepEqual(await keysHeld(store), ['A', 'B', 'D'])
      for (const index of [0, 3]) assert.equal(await settle(store, leaseOf(claim, index, verdicts[index])), 'settled')
      assert.deepEqual(await keysHeld(store), ['B'])
    },
  },
  {
    promise: 'a whole claim of which nothing is held elsewhere gets every part',
    run: async ({ open }) => {
      const store = await open()
      const verdicts = await claimOnce(store, claimOf([part(['B'], ['m1']), part(['A'], ['m2'])], { whole: true }))
      assert.deepEqual(outcomes(verdicts), ['acquired', 'acquired'])
      assert.deepEqual((await rowOf(store, 'A')).messageKeys, ['m2'])
      assert.deepEqual((await rowOf(store, 'B')).messageKeys, ['m1'])
    },
  },
  {
    promise: 'a claim repeated under the same owner finds its own rows, and can be settled',
    run: async ({ open }) => repeatedClaim(await open(), await open()),
  },
  {
    promise: 'a whole claim repeated after it lost a row gives back the rows of its first try',
    run: async ({ open }) => {
      const store = await open()
      const claim = claimOf([part(['A'], ['m1']), part(['B'], ['m2'])], { whole: true })
      assert.deepEqual(outcomes(await claimOnce(store, claim)), ['acquired', 'acquired'])
      await store.release(['B'])
      const { owner } = await acquire(store, part(['B'], ['m3']))
      assert.deepEqual(outcomes(await claimOnce(store, claim)), ['free', 'held'])
      assert.deepEqual(await keysHeld(store), ['B'])
      assert.equal((await rowOf(store, 'B')).owner, owner)
    },
  },
  {
    promise: 'a claim repeated after somebody else completed its message gives back the rows of its first try',
    run: async ({ open }) => {
      const store = await open()
      const claim = claimOf([part(['A', 'B'], ['m'])])
      await claimOnce(store, claim)
      await store.release(['A'])
      await complete(store, 'm')
      assert.deepEqual(await keysHeld(store), ['B'])
      assert.deepEqual(outcomes(await claimOnce(store, claim)), ['completed'])
      assert.deepEqual(await keysHeld(store), [])
    },
  },
]

async function freeRow(store: Store): Promise<void> {
  const owner = randomUUID()
  const wanted = { ...part(['A'], ['m1', 'm2']), rows: [{ key: 'A', prospect: '+49 1', device: 'bot' }] }
  const lease = await acquire(store, wanted, { owner, nodeId: 'node-7', tokenAbove: 41 })
  assert.equal(lease.verdict.takeover, null)
  assert.deepEqual(lease.verdict.completed, [])
  const { lockedAt, renewedAt, expiresAt, messageKeys, ...rest } = await rowOf(store, 'A')
  assert.deepEqual([...messageKeys].sort(), ['m1', 'm2'])
  const who = { key: 'A', prospect: '+49 1', device: 'bot', owner, nodeId: 'node-7' }
  const how = { strategy: 'lease', contended: false, stale: false }
  assert.deepEqual(rest, { ...who, ...how, fencingToken: lease.token })
  assert.ok(Math.abs(Date.now() - lockedAt) < CLOCKS_APART_MS, `lockedAt is no epoch time in ms: ${lockedAt}`)
  assertNear(renewedAt, lockedAt)
  assertNear(expiresAt - lockedAt, LONG_MS)
}

async function heldRow(first: Store, second: Store): Promise<void> {
  const { owner } = await acquire(first, part(['A'], ['m1', 'm2']), { nodeId: 'node-7' })
  const verdict = await ask(second, part(['A'], ['m1']))
  assert.ok(verdict.outcome === 'held', verdict.outcome)
  const { holder, remainingMs } = verdict
  assert.equal(holder.owner, owner)
  assert.equal(holder.nodeId, 'node-7')
  assert.deepEqual([...holder.messageKeys].sort(), ['m1', 'm2'])
  assert.ok(holder.silentForMs >= 0 && holder.silentForMs < LONG_MS / 2, `silent for ${holder.silentForMs} ms`)
  assert.ok(holder.heldForMs >= 0 && holder.heldForMs < LONG_MS / 2, `held for ${holder.heldForMs} ms`)
  assert.ok(remainingMs > LONG_MS / 2 && remainingMs <= LONG_MS + 1, `remaining: ${remainingMs} ms`)
}

async function severalRows(store: Store): Promise<void> {
  const lease = await acquire(store, part(['A', 'B'], ['m1']))
  for (const key of ['A', 'B']) {
    const { owner, fencingToken, messageKeys } = await rowOf(store, key)
    assert.deepEqual(
      { owner, fencingToken, messageKeys },
      { owner: lease.owner, fencingToken: lease.token, messageKeys: ['m1'] },
    )
  }
  for (const keys of [
    ['B', 'C'],
    ['C', 'B'],
    ['A', 'C', 'D'],
  ]) {
    assert.equal((await ask(store, part(keys, ['m2']), { whole: false })).outcome, 'held')
  }
  assert.deepEqual(await keysHeld(store), ['A', 'B'])
  assert.equal(await settle(store, lease), 'settled')
  assert.deepEqual(await keysHeld(store), [])
}

async function refusedOverStale(store: Store): Promise<void> {
  await acquire(store, part(['live'], ['m']))
  const apart = (keys: readonly string[]) => keys.map((key) => part([key], [`other ${key}`]))
  const refused = [
    (stale: string) => claimOf([part([stale, 'live'], ['other'])]),
    (stale: string) => claimOf([part(['live', stale], ['other'])]),
    (stale: string) => claimOf([part([stale, 'live'], ['other'])], { whole: false }),
    (stale: string) => claimOf(apart([stale, 'live'])),
    (stale: string) => claimOf(apart(['live', stale])),
  ]
  for (const [index, claimWith] of refused.entries()) {
    const key = `stale ${index}`
    const { owner } = await acquire(store, part([key], [`m ${index}`]), { staleAfterMs: 1 })
    await untilStale(store, key)
    assert.ok(outcomes(await claimOnce(store, claimWith(key))).includes('held'))
    // Where rows lie on several servers it may be gone: it was nobody's.
    const left = await store.sessions({ keys: [key], limit: 1 })
    assert.ok(left.every((row) => row.stale && row.owner === owner))
    await acquire(store, part([key], [`m ${index}`]))
  }
}

async function repeatedClaim(store: Store, stranger: Store): Promise<void> {
  const claim = claimOf([part(['A', 'B'], ['m1'])])
  const first = leaseOf(claim, 0, (await claimOnce(store, claim))[0])
  const verdicts = await claimOnce(store, claim)
  const again = leaseOf(claim, 0, verdicts[0])
  assert.equal(again.verdict.takeover, null)
  assert.ok(again.token >= first.token)
  assert.equal((await rowOf(store, 'A')).fencingToken, again.token)
  assert.equal((await rowOf(store, 'B')).fencingToken, again.token)
  assert.equal((await ask(stranger, part(['A'], ['m1']))).outcome, 'held')
  assert.equal(await settle(store, again), 'settled')
  assert.deepEqual(await keysHeld(store), [])
}

function outcomes(verdicts: ReadonlyArray<{ outcome: string }>): string[] {
  return verdicts.map(({ outcome }) => outcome)
}

/** Responses as text: assert tells a Buffer from any other byte array. */
function plain(completed: ReadonlyArray<{ key: string; response: Uint8Array | null }>): unknown[] {
  return completed.map(({ key, response }) => ({ key, response: response && Buffer.from(response).toString() }))
}
