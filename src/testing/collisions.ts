/** Two handles that want opposite things of one row at the same moment: exactly one of them gets it. */
import assert from 'node:assert/strict'
import type { Store } from '../store/store.ts'
import {
  acquire,
  ask,
  claimOf,
  claimOnce,
  type Lease,
  leaseOf,
  messageOf,
  only,
  part,
  renew,
  rowOf,
  settle,
} from './asking.ts'
import { untilForgotten, untilStale } from './waiting.ts'
import type { Check, World } from './world.ts'

const ROUNDS = 40
const EVERYTHING = { abandonedAfterMs: 0, limit: 100 }

/** Two handles, and a lease of one row and one message, stale but not taken over yet. */
interface Collision {
  readonly holder: Store
  readonly other: Store
  readonly key: string
  readonly lease: Lease
  /** What the lease was claimed for. */
  readonly wanted: ReturnType<typeof part>
}

export const collisionChecks: readonly Check[] = [
  {
    promise: 'a takeover at the very moment of a renewal: one of them succeeds, the other is told',
    run: eachRound(async ({ holder, other, key, lease, wanted }) => {
      const [verdict, asked] = await Promise.all([renew(holder, lease), ask(other, wanted)])
      const isRenewed = only(verdict)
      assert.equal(asked.outcome, isRenewed ? 'held' : 'acquired')
      assert.equal((await rowOf(holder, key)).owner === lease.owner, isRenewed)
    }),
  },
  {
    promise: 'a takeover at the very moment of a settlement: one of them succeeds, the other is told',
    run: eachRound(async ({ holder, other, key, lease, wanted }) => {
      const [settled, asked] = await Promise.all([settle(holder, lease), ask(other, wanted)])
      assert.equal(asked.outcome, settled === 'settled' ? 'completed' : 'acquired')
      assert.equal((await ownersOf(holder, key)).length, settled === 'settled' ? 0 : 1)
    }),
  },
  {
    promise: 'a takeover at the very moment of a clean-up keeps its row',
    run: eachRound(async ({ holder, other, key, wanted }) => {
      const [asked] = await Promise.all([ask(other, wanted), holder.cleanup(EVERYTHING)])
      assert.ok(asked.outcome === 'acquired', asked.outcome)
      const row = await rowOf(holder, key)
      assert.deepEqual([row.fencingToken, row.stale], [asked.fencingToken, false])
    }),
  },
  {
    promise: 'a settlement at the very moment of a forced release is settled, or lost and writes nothing',
    run: eachRound(async ({ holder, other, key, lease }) => {
      const [settled] = await Promise.all([settle(holder, lease), other.release([key])])
      const message = await messageOf(holder, lease.messages[0]?.key ?? '')
      assert.equal(message?.status, settled === 'settled' ? 'completed' : undefined)
      assert.deepEqual(await ownersOf(holder, key), settled === 'settled' ? [] : [null])
    }),
  },
  {
    promise: 'a row that is renewed at the very moment of a clean-up lives, or its renewal is refused',
    run: eachRound(async ({ holder, other, key, lease }) => {
      const [verdict, report] = await Promise.all([renew(holder, lease), other.cleanup(EVERYTHING)])
      const isRenewed = only(verdict)
      assert.deepEqual(await ownersOf(holder, key), isRenewed ? [lease.owner] : [])
      assert.equal(report.sessions, isRenewed ? 0 : 1)
      assert.equal(await settle(holder, lease), isRenewed ? 'settled' : 'lost')
    }),
  },
  {
    promise: 'a message completed anew at the very moment of a clean-up stays completed',
    run: async (world) => {
      const [holder, other] = await openTwo(world)
      for (let round = 0; round < ROUNDS; round++) {
        const wanted = part(['A'], [`m ${round}`])
        await settle(holder, await acquire(holder, wanted), { retentionMs: 1 })
        await untilForgotten(holder, `m ${round}`)
        const lease = await acquire(holder, wanted)
        const [settled] = await Promise.all([settle(holder, lease), other.cleanup(EVERYTHING)])
        assert.equal(settled, 'settled')
        assert.equal((await ask(other, wanted)).outcome, 'completed', `round ${round}`)
      }
    },
  },
  {
    promise: 'one claim sent twice at once is acquired twice, and settled under the token that stands',
    run: async (world) => {
      const stores = await openTwo(world)
      for (let round = 0; round < ROUNDS; round++) {
        const claim = claimOf([part(['A', 'B'], [`m ${round}`])])
        const verdicts = await Promise.all(stores.map((store) => claimOnce(store, claim)))
        const leases = verdicts.map((verdict) => leaseOf(claim, 0, only(verdict)))
        const { fencingToken } = await rowOf(stores[0], 'A')
        const standing = leases.find(({ token }) => token === fencingToken)
        assert.ok(standing, `round ${round}: the row has a token that nobody was told`)
        assert.equal(await settle(stores[1], standing), 'settled')
      }
    },
  },
]

/** Runs a collision again and again, the one and the other handle going first. */
function eachRound(collide: (collision: Collision) => Promise<void>): Check['run'] {
  return async (world) => {
    const [first, second] = await openTwo(world)
    for (let round = 0; round < ROUNDS; round++) {
      const [holder, other] = round % 2 === 0 ? [first, second] : [second, first]
      const key = `row ${round}`
      const wanted = part([key], [`m ${round}`])
      const lease = await acquire(holder, wanted, { staleAfterMs: 1 })
      await untilStale(holder, key)
      await collide({ holder, other, key, lease, wanted })
    }
  }
}

async function openTwo({ open }: World): Promise<readonly [Store, Store]> {
  return [await open(), await open()]
}

/** Who holds the row: one owner, or nobody. */
async function ownersOf(store: Store, key: string): Promise<Array<string | null>> {
  return (await store.sessions({ keys: [key], limit: 2 })).map(({ owner }) => owner)
}
