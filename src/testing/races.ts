/** What many handles do at once. */
import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import type { Claim, Store } from '../store/store.ts'
import {
  acquire,
  ask,
  claimOf,
  claimOnce,
  keysHeld,
  type Lease,
  leaseOf,
  only,
  part,
  rowsHeld,
  settle,
} from './asking.ts'
import { until } from './waiting.ts'
import type { Check, World } from './world.ts'

const HANDLES = 4
const LOOPS_PER_HANDLE = 2
const INCREMENTS = 25

export const raceChecks: readonly Check[] = [
  { promise: 'an unguarded counter under a lease is exact, from many handles', run: unguardedCounter },
  {
    promise: 'of many handles that claim one message at once, one gets it',
    run: async ({ open }) => {
      const stores = await openMany(open)
      for (let round = 0; round < 30; round++) {
        const claims = stores.map(() => claimOf([part(['A'], [`m ${round}`])]))
        const verdicts = await Promise.all(stores.map((store, index) => claimOnce(store, claims[index] as Claim)))
        const outcomes = verdicts.map((verdict) => only(verdict).outcome)
        assert.deepEqual([...outcomes].sort(), ['acquired', 'held', 'held', 'held'], `round ${round}`)
        const winner = outcomes.indexOf('acquired')
        const lease = leaseOf(claims[winner] as Claim, 0, verdicts[winner]?.[0])
        assert.equal(await settle(stores[winner] as Store, lease), 'settled')
      }
    },
  },
  {
    promise: 'a claim at the very moment of the settlement sees the message held or completed, never free',
    run: async ({ open }) => {
      const [holder, other] = [await open(), await open()]
      for (let round = 0; round < 200; round++) {
        const wanted = part(['A'], [`m ${round}`])
        const lease = await acquire(holder, wanted)
        const [settled, verdict] = await (round % 2 === 0
          ? Promise.all([settle(holder, lease), ask(other, wanted)])
          : Promise.all([ask(other, wanted), settle(holder, lease)]).then(([asked, ended]) => [ended, asked] as const))
        assert.equal(settled, 'settled')
        assert.ok(verdict.outcome === 'held' || verdict.outcome === 'completed', `round ${round}: ${verdict.outcome}`)
        assert.deepEqual(await keysHeld(holder), [])
      }
    },
  },
  {
    promise: 'of two whole claims that cross, one gets both rows and the other holds nothing while it waits',
    run: async ({ open }) => crosswise(await open(), await open()),
  },
  {
    promise: 'batches whose rows cross from many handles end without an error, one holder a row',
    run: crossingBatches,
  },
]

async function unguardedCounter({ open, random }: World): Promise<void> {
  const stores = await openMany(open)
  let counter = 0
  const loop = async (store: Store, name: string) => {
    for (let count = 0; count < INCREMENTS; count++) {
      const lease = await untilAcquired(store, claimOf([part(['A'], [`${name} ${count}`])]))
      const read = counter
      for (let pause = Math.floor(random() * 3); pause >= 0; pause--) await turn()
      counter = read + 1
      assert.equal(await settle(store, lease, { outcome: random() < 0.5 ? 'completed' : 'released' }), 'settled')
    }
  }
  const names = Array.from({ length: LOOPS_PER_HANDLE }, (_, index) => `loop ${index}`)
  await Promise.all(stores.flatMap((store, handle) => names.map((name) => loop(store, `${handle} ${name}`))))
  assert.equal(counter, HANDLES * LOOPS_PER_HANDLE * INCREMENTS)
  assert.deepEqual(await rowsHeld(stores[0] as Store), [])
}

async function crosswise(first: Store, second: Store): Promise<void> {
  for (let round = 0; round < 200; round++) {
    const claims = [
      claimOf([part(['A'], [`a ${round}`]), part(['B'], [`b ${round}`])]),
      claimOf([part(['B'], [`c ${round}`]), part(['A'], [`d ${round}`])]),
    ] as const
    const verdicts = await Promise.all([claimOnce(first, claims[0]), claimOnce(second, claims[1])])
    const won = verdicts.map((verdict) => verdict.every(({ outcome }) => outcome === 'acquired'))
    assert.deepEqual([...won].sort(), [false, true], `round ${round}: ${JSON.stringify(verdicts)}`)
    const [winner, loser] = won[0] ? ([0, 1] as const) : ([1, 0] as const)
    assert.ok(verdicts[loser].every(({ outcome }) => outcome === 'held' || outcome === 'free'))
    const owners = (await rowsHeld(first)).map(({ owner }) => owner)
    assert.deepEqual(owners, [claims[winner].owner, claims[winner].owner], `round ${round}`)
    const stores = [first, second] as const
    await settleAll(stores[winner], claims[winner], verdicts[winner])
    await settleAll(stores[loser], claims[loser], await claimOnce(stores[loser], claims[loser]))
    assert.deepEqual(await keysHeld(first), [], `round ${round}`)
  }
}

async function crossingBatches({ open, random }: World): Promise<void> {
  const stores = await openMany(open)
  for (let round = 0; round < 20; round++) {
    const batches = stores.map(() =>
      Array.from({ length: 20 }, (_, row) => row)
        .sort(() => random() - 0.5)
        .map((row) => claimOf([part([`row ${row}`], [`m ${round} ${row}`])])),
    )
    const verdicts = await Promise.all(stores.map((store, index) => store.claim(batches[index] as Claim[])))
    const leases = stores.map((_, handle) =>
      (batches[handle] as Claim[]).flatMap((claim, index) => {
        const verdict = verdicts[handle]?.[index]?.[0]
        return verdict?.outcome === 'acquired' ? [leaseOf(claim, 0, verdict)] : []
      }),
    )
    const keys = leases.flat().map(({ rows }) => only(rows).key)
    assert.equal(keys.length, 20, `round ${round}: ${keys.length} leases of 20 rows`)
    assert.equal(new Set(keys).size, 20, `round ${round}: a row was given twice`)
    const settled = stores.map((store, handle) =>
      Promise.all((leases[handle] as Lease[]).map((lease) => settle(store, lease))),
    )
    assert.ok((await Promise.all(settled)).flat().every((verdict) => verdict === 'settled'))
  }
  assert.deepEqual(await keysHeld(stores[0] as Store), [])
}

async function openMany(open: () => Promise<Store>): Promise<Store[]> {
  return Promise.all(Array.from({ length: HANDLES }, () => open()))
}

async function untilAcquired(store: Store, claim: Claim): Promise<Lease> {
  return until('the claim is acquired', async () => {
    const verdict = only(await claimOnce(store, claim))
    return verdict.outcome === 'acquired' && leaseOf(claim, 0, verdict)
  })
}

async function settleAll(store: Store, claim: Claim, verdicts: Awaited<ReturnType<typeof claimOnce>>): Promise<void> {
  for (const [index, verdict] of verdicts.entries()) {
    assert.equal(await settle(store, leaseOf(claim, index, verdict)), 'settled')
  }
}
