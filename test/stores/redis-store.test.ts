/** The Redis store beyond the contract: flushed scripts, full memory, notices, and what is left over. */
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { expect, test, vi } from 'vitest'
import { claimBatch } from '../../src/store/redis-claim.ts'
import { readScripts, runOn } from '../../src/store/redis-scripts.ts'
import { refusal, useRedisWorld } from './redis-world.ts'
import { acquire, addresses, ask, claimOf, settlementOf } from './store-items.ts'

const world = useRedisWorld()

test('scripts that the server has forgotten are sent again, in the middle of traffic', async () => {
  const store = await world.openPrepared()
  const admin = world.client()
  for (let turn = 0; turn < 20; turn++) {
    await admin.script('FLUSH')
    const token = await acquire(store, claimOf(`o${turn}`, 's', `m${turn}`))
    await admin.script('FLUSH')
    expect(await store.settle([settlementOf(`o${turn}`, 's', `m${turn}`, token)])).toEqual(['settled'])
  }
})

test('a full server refuses claims with a store error; what is in hand can still be settled', async () => {
  const server = await world.ownServer()
  const store = await world.openPrepared(server.url)
  const token = await acquire(store, claimOf('o1', 's1', 'm1', { staleAfterMs: 60_000 }))
  const admin = world.client(server.url)
  await admin.config('SET', 'maxmemory', '1')
  const error = await refusal(ask(store, claimOf('o2', 'secret-session', 'm2')))
  expect(error).toMatchObject({ name: 'StoreError', kind: 'unreachable', answerLost: false })
  expect(error.message).toContain('OOM')
  // Neither numbers nor answers: errors go to logs.
  expect(inspect(error, { depth: null })).not.toContain('secret-session')
  expect((await store.sessions({ limit: 10 })).map((row) => row.key)).toEqual(['s1'])
  expect(await store.settle([settlementOf('o1', 's1', 'm1', token)])).toEqual(['settled'])
  expect((await store.look(addresses(['m1', 'm2']))).map((message) => message.key)).toEqual(['m1'])
  await admin.config('SET', 'maxmemory', '0')
  expect((await ask(store, claimOf('o2', 's2', 'm2'))).outcome).toBe('acquired')
})

test('who listens hears of a contended row as soon as it is free, and of no other', async () => {
  const [holder, waiter] = [await world.openPrepared(), await world.openPrepared()]
  const heard: string[] = []
  waiter.listen?.((key) => heard.push(key))
  await vi.waitFor(async () => {
    expect(await world.client().pubsub('NUMSUB', `${world.tablePrefix}released`)).toEqual([
      `${world.tablePrefix}released`,
      1,
    ])
  })
  const tokens = [
    await acquire(holder, claimOf('o1', 'quiet', 'm1')),
    await acquire(holder, claimOf('o2', 'wanted', 'm2')),
  ]
  await acquire(holder, claimOf('o3', 'forced', 'm3'))
  for (const key of ['wanted', 'forced']) expect((await ask(waiter, claimOf('w', key, 'other'))).outcome).toBe('held')
  await holder.settle([settlementOf('o1', 'quiet', 'm1', tokens[0] ?? 0)])
  await holder.settle([settlementOf('o2', 'wanted', 'm2', tokens[1] ?? 0)])
  await holder.release(['forced'])
  await vi.waitFor(() => expect(heard).toEqual(['wanted', 'forced']))
})

test('a claim of several servers that is given back late leaves the rows of its owner’s later attempt alone', async () => {
  const store = await world.openPrepared()
  const client = world.client()
  const run = runOn((command, args) => client.callBuffer(command, ...args), await readScripts(), world.tablePrefix)
  const claim = claimOf('o', 's', 'm', { staleAfterMs: 60_000 })
  const outcomeOf = async (attempt: number, isRefused: boolean) =>
    (await claimBatch(run, [{ ...claim, attempt, isRefused }]))[0]?.[0]?.outcome
  expect(await outcomeOf(1, false)).toBe('acquired')
  expect(await outcomeOf(2, false)).toBe('acquired')
  expect(await outcomeOf(1, true)).toBe('free')
  expect(await store.sessions({ limit: 2 })).toHaveLength(1)
  expect(await outcomeOf(2, true)).toBe('free')
  expect(await store.sessions({ limit: 2 })).toHaveLength(0)
})

test('a token that is ahead of the server’s clock is exceeded by those that come after its release', async () => {
  const store = await world.openPrepared()
  const now = await acquire(store, claimOf('o1', 's', 'm1'))
  await store.settle([settlementOf('o1', 's', 'm1', now)])
  const ahead = await acquire(store, claimOf('o2', 's', 'm2', { tokenAbove: now + 10_000_000 }))
  await store.settle([settlementOf('o2', 's', 'm2', ahead)])
  expect(ahead).toBeGreaterThan(now + 10_000_000)
  expect(await acquire(store, claimOf('o3', 's', 'm3'))).toBeGreaterThan(ahead)
})

test('nothing of a message is left once its retention is over and others have followed', async () => {
  const store = await world.openPrepared()
  for (let index = 0; index < 30; index++) {
    const token = await acquire(store, claimOf(`o${index}`, 's', `m${index}`))
    await store.settle([settlementOf(`o${index}`, 's', `m${index}`, token, { retentionMs: 20 })])
    await sleep(2)
  }
  await sleep(30)
  const admin = world.client()
  expect(await admin.zcard(`${world.tablePrefix}completed:20`)).toBeLessThan(25)
  await store.cleanup({ abandonedAfterMs: 0, limit: 1000 })
  expect((await admin.keys(`${world.tablePrefix}*`)).filter((key) => !key.endsWith('version'))).toEqual([])
})

test('a message that was remembered for less before, and happened again, outlives the clean-up', async () => {
  const store = await world.openPrepared()
  for (const retentionMs of [1, 60_000]) {
    const token = await acquire(store, claimOf(`o${retentionMs}`, 's', 'm'))
    await store.settle([settlementOf(`o${retentionMs}`, 's', 'm', token, { retentionMs })])
    await sleep(20)
  }
  await store.cleanup({ abandonedAfterMs: 0, limit: 1000 })
  expect(await store.look(addresses(['m']))).toHaveLength(1)
  expect((await store.stats()).messages.completed).toBe(1)
  expect(await store.messages({ limit: 10 })).toHaveLength(1)
})
