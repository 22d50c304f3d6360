/** Opening, making tables, closing. */
import assert from 'node:assert/strict'
import { type Store, StoreError } from '../store/store.ts'
import { acquire, ask, claimOf, complete, LONG_MS, look, part, settle } from './asking.ts'
import { assertClosed } from './waiting.ts'
import type { Check } from './world.ts'

const HANDLES = 8

export const lifecycleChecks: readonly Check[] = [
  {
    promise: 'a migration applies what is missing, and nothing the second time',
    run: async ({ openUnprepared }) => {
      const store = await openUnprepared()
      const applied = await store.migrate()
      if (!store.singleProcess) assert.notEqual(applied.length, 0)
      await acquire(store, part(['A']))
      assert.deepEqual(await store.migrate(), [])
      assert.equal((await ask(store, part(['A']))).outcome, 'held')
    },
  },
  {
    promise: 'many handles may migrate at once: each step is applied by one of them',
    run: async ({ openUnprepared }) => {
      const stores = await Promise.all(Array.from({ length: HANDLES }, () => openUnprepared()))
      const applied = (await Promise.all(stores.map((store) => store.migrate()))).flat()
      assert.equal(new Set(applied).size, applied.length, `applied twice: ${applied.join(', ')}`)
      await Promise.all(stores.map((store) => store.checkSchema()))
      const lease = await acquire(stores[0] as Store, part(['A']))
      assert.equal(await settle(stores[1] as Store, lease), 'settled')
    },
  },
  {
    promise: 'a store without tables says so, as an error of kind setup',
    run: async ({ openUnprepared }) => {
      const store = await openUnprepared()
      if (store.singleProcess) return store.checkSchema()
      const isSetup = (error: unknown) => error instanceof StoreError && error.kind === 'setup'
      await assert.rejects(store.checkSchema(), isSetup)
      await assert.rejects(store.claim([claimOf([part(['A'])])]), isSetup)
      await store.migrate()
      return store.checkSchema()
    },
  },
  {
    promise: 'a store has a name for logs',
    run: async ({ open }) => assert.notEqual((await open()).name, ''),
  },
  {
    promise: 'a store can be closed twice; what is held stays held for the others',
    run: async ({ open }) => {
      const [first, second] = [await open(), await open()]
      const lease = await acquire(first, part(['A']))
      await first.close()
      await first.close()
      assert.equal((await ask(second, part(['A']))).outcome, 'held')
      assert.equal(await settle(second, lease), 'settled')
    },
  },
  {
    promise: 'what is completed and what is held is still so when all have closed and one opens again',
    run: async ({ open }) => openedAgain(await open(), await open(), open),
  },
  {
    promise: 'calls after close reject with a StoreError; none hangs',
    run: async ({ open }) => callsAfterClose(await open()),
  },
  {
    promise: 'claims, renewals, settlements and looks may be under way at once on one handle',
    run: async ({ open }) => {
      const store = await open()
      const lease = await acquire(store, part(['A'], ['m']))
      const renewed = await acquire(store, part(['B'], ['n']))
      const heartbeat = { owner: renewed.owner, rows: renewed.rows, staleAfterMs: LONG_MS }
      const [verdict, settled, alive] = await Promise.all([
        ask(store, part(['C'], ['o'])),
        settle(store, lease),
        store.renew([heartbeat]),
        look(store, ['m', 'n']),
        store.stats(),
        store.cleanup({ abandonedAfterMs: 0, limit: 10 }),
      ])
      assert.deepEqual([verdict.outcome, settled, alive], ['acquired', 'settled', [[true]]])
    },
  },
]

async function openedAgain(first: Store, second: Store, open: () => Promise<Store>): Promise<void> {
  if (first.singleProcess) return
  await complete(first, 'm')
  const lease = await acquire(second, part(['B']))
  await Promise.all([first.close(), second.close()])
  const next = await open()
  assert.equal((await ask(next, part(['A'], ['m']))).outcome, 'completed')
  assert.equal((await ask(next, part(['B']))).outcome, 'held')
  assert.equal(await settle(next, lease), 'settled')
}

async function callsAfterClose(store: Store): Promise<void> {
  const lease = await acquire(store, part(['A'], ['m']))
  await store.close()
  await assertClosed({
    claim: () => ask(store, part(['B'])),
    look: () => look(store, ['m']),
    renew: () => store.renew([{ owner: lease.owner, rows: lease.rows, staleAfterMs: LONG_MS }]),
    settle: () => settle(store, lease),
    release: () => store.release(['A']),
    sessions: () => store.sessions({ limit: 10 }),
    messages: () => store.messages({ limit: 10 }),
    stats: () => store.stats(),
    cleanup: () => store.cleanup({ abandonedAfterMs: 0, limit: 10 }),
  })
}
