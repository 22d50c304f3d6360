/** What the Postgres store tells whoever listens. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { postgresStore } from '../../src/store/postgres.ts'
import { claimOne, part, settlementOf, tokenOf } from './mysql-world.ts'
import { postgresUrl } from './postgres-tables.ts'
import { type PostgresWorld, postgresWorld } from './postgres-world.ts'

let world: PostgresWorld

beforeEach(async () => {
  world = await postgresWorld()
})
afterEach(() => world.close())

test('who listens is told of rows that somebody waits for, when they are settled or released, and of no others', async () => {
  const [holder, waiter] = [await world.open(), await world.open()]
  const told: string[] = []
  let wake: () => void = () => undefined
  waiter.listen?.((key) => {
    told.push(key)
    wake()
  })
  const next = () =>
    new Promise<void>((resolve) => {
      wake = resolve
    })
  await world.untilListening()

  const [quiet, wanted, forced] = [part('quiet', 'm1'), part('wanted ☎', 'm2'), part('forced')]
  const tokens = await Promise.all([quiet, wanted, forced].map((each) => claimOne(holder, 'holder', each)))
  await claimOne(waiter, 'waiter', wanted)
  await claimOne(waiter, 'waiter', forced)
  await holder.settle([settlementOf('holder', quiet, tokenOf(tokens[0]))])
  let woken = next()
  await holder.settle([settlementOf('holder', wanted, tokenOf(tokens[1]))])
  await woken
  woken = next()
  await holder.release(['forced'])
  await woken
  expect(told).toEqual(['wanted ☎', 'forced'])
})

test('a listening connection that is lost comes back', async () => {
  const [holder, waiter] = [await world.open(), await world.open()]
  const told = new Promise((resolve) => waiter.listen?.(resolve))
  const pid = await world.untilListening()
  const admin = await world.connect()
  await admin.query('SELECT pg_terminate_backend($1)', [pid])
  await world.untilListening({ others: [pid] })
  const token = tokenOf(await claimOne(holder, 'holder', part('row')))
  await claimOne(waiter, 'waiter', part('row'))
  await holder.settle([settlementOf('holder', part('row'), token)])
  expect(await told).toBe('row')
})

test('a prefix with capital letters is one name for tables, functions and notifications', async () => {
  const settings = { tablePrefix: `W${world.tablePrefix.slice(1)}UP_`, timeoutMs: 5000 }
  const store = await postgresStore(postgresUrl(), settings)
  expect(await store.migrate()).not.toEqual([])
  expect(await store.migrate()).toEqual([])
  await store.checkSchema()
  const told = new Promise((resolve) => store.listen?.(resolve))
  await world.untilListening({ tablePrefix: settings.tablePrefix.toLowerCase() })
  await claimOne(store, 'a', part('row'))
  await claimOne(store, 'b', part('row'))
  await store.release(['row'])
  expect(await told).toBe('row')
  await store.close()
})
