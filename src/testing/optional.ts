/** What only some stores have beside the contract: that they listen, and transactions for handlers. */
import assert from 'node:assert/strict'
import { type Store, StoreError } from '../store/store.ts'
import type { Begun, Transactions } from '../store/transactions.ts'
import { acquire, ask, LONG_MS, look, part, settle, settlementOf } from './asking.ts'
import { until } from './waiting.ts'
import type { Check } from './world.ts'

export const optionalChecks: readonly Check[] = [
  {
    promise: 'a store that listens tells by its key of a row that was settled or released, and that others wait for',
    run: async ({ open }) => heard(await open(), await open()),
  },
  {
    promise: 'a store with transactions gives a row’s lock to one of them, until that one has ended',
    run: async ({ open }) => locked(await open(), await open()),
  },
  {
    promise: 'a transaction settles with its commit; whoever gets its locks after a rollback takes over at once',
    run: async ({ open }) => ended(await open(), await open()),
  },
]

async function heard(holder: Store, waiter: Store): Promise<void> {
  if (!waiter.listen) return
  const told: string[] = []
  waiter.listen((key) => told.push(key))
  const ends = {
    settled: (lease: Awaited<ReturnType<typeof acquire>>) => settle(holder, lease),
    released: () => holder.release(['released']),
  }
  for (const [key, end] of Object.entries(ends)) {
    // It may be some time until it listens, and what is told before is not heard.
    await until(`the store calls back that the row "${key}" is free`, async () => {
      const lease = await acquire(holder, part([key]))
      assert.equal((await ask(waiter, part([key]))).outcome, 'held')
      await end(lease)
      return told.includes(key)
    })
  }
}

/** Undefined where the store, or the very database, has none. */
async function transactionsOf({ transactions }: Store): Promise<Transactions | undefined> {
  try {
    await transactions?.check()
    return transactions
  } catch (error) {
    assert.ok(error instanceof StoreError && error.kind === 'setup', `check() rejects with ${error}`)
    return undefined
  }
}

async function locked(store: Store, other: Store): Promise<void> {
  const [mine, theirs] = [await transactionsOf(store), await transactionsOf(other)]
  if (!mine || !theirs) return
  const first = await mine.begin(['A', 'B'], 0)
  assert.deepEqual(first.held, [])
  const second = await theirs.begin(['B', 'C'], 0)
  assert.deepEqual(second.held, ['B'])
  await second.transaction.rollback()
  const third = theirs.begin(['B'], LONG_MS)
  await first.transaction.rollback()
  await endOf(await third)
}

async function ended(store: Store, other: Store): Promise<void> {
  const [mine, theirs] = [await transactionsOf(store), await transactionsOf(other)]
  if (!mine || !theirs) return
  const claimed = { strategy: 'transaction' } as const
  const first = await mine.begin(['A'], 0)
  const lost = await acquire(store, part(['A'], ['m']), claimed)
  await first.transaction.rollback()
  assert.deepEqual(await look(store, ['m']), [])
  const second = await theirs.begin(['A'], 0)
  const lease = await acquire(other, part(['A'], ['m']), claimed)
  assert.equal(lease.verdict.takeover?.owner, lost.owner)
  assert.deepEqual(await second.transaction.settle([settlementOf(lease)]), ['settled'])
  assert.equal((await look(store, ['m'])).length, 1)
  const third = await mine.begin(['A'], 0)
  assert.deepEqual(await third.transaction.settle([settlementOf(lost)]), ['lost'])
  await endOf(await theirs.begin(['A'], 0))
}

/** Ends a transaction that must have got its locks. */
async function endOf({ transaction, held }: Begun): Promise<void> {
  assert.deepEqual(held, [])
  await transaction.rollback()
}
