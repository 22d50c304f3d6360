/** The Redis store on a cluster, beyond the contract: how it is found, what it costs, and what moving slots do to it. */
import { Cluster, Redis } from 'ioredis'
import { expect, test, vi } from 'vitest'
import { openStore } from '../../src/store/open.ts'
import { bucketOf } from '../../src/store/redis-buckets.ts'
import type { ClusterNode } from '../servers/redis-cluster.ts'
import { beginMove, keysApart, prefixOf, useRedisCluster } from './redis-cluster-world.ts'
import { refusal, useRedisWorld } from './redis-world.ts'
import { acquire, addresses, ask, claimOf, settlementOf } from './store-items.ts'

const cluster = useRedisCluster()
const world = useRedisWorld()
const urlOf = (index: number) => cluster.nodes[index]?.server.url ?? ''
const open = () => world.openPrepared(urlOf(0))
const LONG = { staleAfterMs: 60_000 }

/** A claim of one part with these rows; its messages are at home in the first of them. */
function claimRows(owner: string, rows: readonly string[], messages: readonly string[] = [`m ${owner}`]) {
  const { parts, ...rest } = claimOf(owner, rows[0] ?? '', '', LONG)
  const [part] = parts
  const rowOf = (key: string) => ({ key, prospect: null, device: null })
  const refOf = (key: string) => ({ key, home: rows[0] ?? '', provider: 'p', device: null, id: key })
  return { ...rest, parts: [{ ...part, rows: rows.map(rowOf), messages: messages.map(refOf) }] }
}

test("a cluster is found by any node's URL and by the user's own clients, which stay open", async () => {
  const { password, port } = new URL(urlOf(2))
  const secret = decodeURIComponent(password)
  const nodes = [1, Number(port)].map((number) => ({ host: '127.0.0.1', port: number }))
  const ownCluster = new Cluster(nodes, { redisOptions: { password: secret } })
  const ownNode = new Redis(urlOf(1))
  world.afterwards(() => [ownCluster, ownNode].map((client) => client.disconnect()))
  const byUrl = new Cluster([urlOf(4)], { redisOptions: { password: secret }, lazyConnect: true })
  const sources = [urlOf(0), urlOf(5), ownCluster, ownNode, byUrl]
  const stores = []
  for (const source of sources) stores.push(await world.openPrepared(source))
  const keys = keysApart(20)
  for (const [index, key] of keys.entries()) {
    const store = stores[index % stores.length]
    if (store) await acquire(store, claimOf(`o${index}`, key, `m${index}`, LONG))
  }
  for (const store of stores) {
    const asked = keys.map((key) => claimOf('other', key, 'other'))
    expect((await store.claim(asked)).flat().map(({ outcome }) => outcome)).toEqual(keys.map(() => 'held'))
    await store.close()
  }
  const { store } = await openStore(ownCluster, { tablePrefix: world.tablePrefix, timeoutMs: 1000 })
  expect(store.name).toBe('redis: (own cluster)')
  expect(await Promise.all([ownCluster.ping(), ownNode.ping()])).toEqual(['PONG', 'PONG'])
})

test("the key prefix and the addresses of the user's own cluster client are used", async () => {
  const asked = new Set<string>()
  const natMap = (address: string) => {
    asked.add(address)
    return { host: 'localhost', port: Number(address.split(':')[1]) }
  }
  const redisOptions = { password: decodeURIComponent(new URL(urlOf(0)).password) }
  const own = new Cluster([urlOf(0)], { redisOptions, natMap, keyPrefix: world.tablePrefix, lazyConnect: true })
  const store = await world.openPrepared(own)
  await acquire(store, claimOf('o', 's', 'm'))
  const key = `${prefixOf(world.tablePrefix + world.tablePrefix, 's')}s:s`
  expect(await (await cluster.masterOf(key)).client.exists(key)).toBe(1)
  expect(asked.size).toBe(3)
})

test('a client of a cluster that names no node is refused', async () => {
  const own = { isCluster: true, options: {}, startupNodes: [], duplicate: () => own, callBuffer: async () => null }
  expect((await refusal(world.open(own))).kind).toBe('setup')
})

test('a master that would throw locks away when it is full is refused', async () => {
  const { client } = (await cluster.mastersNow())[2] as ClusterNode
  await client.config('SET', 'maxmemory-policy', 'allkeys-lru')
  await client.config('SET', 'maxmemory', '100mb')
  world.afterwards(() => Promise.all([client.config('SET', 'maxmemory', '0')]))
  const error = await refusal((await world.open(urlOf(0))).migrate())
  expect([error.kind, error.message.includes('allkeys-lru')]).toEqual(['setup', true])
})

test('a store uses two connections to each master under load, and one more to listen', async () => {
  const masters = await cluster.mastersNow()
  const count = async (type: 'normal' | 'pubsub') => {
    const lists = await Promise.all(masters.map(({ client }) => client.call('CLIENT', 'LIST', 'TYPE', type)))
    return lists.map((list) => String(list).split('\n').length - 1)
  }
  const before = await count('normal')
  const store = await open()
  store.listen?.(() => {})
  const claims = Array.from({ length: 300 }, (_, index) => ask(store, claimOf(`o${index}`, `s${index}`, `m${index}`)))
  const renewals = Array.from({ length: 300 }, (_, index) =>
    store.renew([{ owner: `o${index}`, rows: [{ key: `s${index}`, fencingToken: 1 }], staleAfterMs: 1000 }]),
  )
  await Promise.all([...claims, ...renewals])
  expect(await count('normal')).toEqual(before.map((number) => number + 2))
  await vi.waitFor(async () => expect((await count('pubsub')).sort()).toEqual([0, 0, 1]))
})

test('who listens hears of contended rows of every master', async () => {
  const [holder, waiter] = [await open(), await world.openPrepared(urlOf(5))]
  const heard: string[] = []
  waiter.listen?.((key) => heard.push(key))
  const keys = keysApart(12)
  await vi.waitFor(async () => {
    // Again and again, for when the listening has begun is not told.
    await Promise.all(
      keys.map(async (key) => {
        const token = await acquire(holder, claimOf(`o ${key}`, key, 'm'))
        expect((await ask(waiter, claimOf('w', key, 'other'))).outcome).toBe('held')
        await holder.settle([settlementOf(`o ${key}`, key, 'm', token, { outcome: 'released' })])
      }),
    )
    expect(new Set(heard)).toEqual(new Set(keys))
  }, 10_000)
})

test('while a slot moves, no script runs in it on either side, wherever its rows are; afterwards they are held', async () => {
  const store = await open()
  const [key = '', other = ''] = keysApart(2)
  const token = await acquire(store, claimOf('o1', key, 'm1', LONG))
  const moving = await beginMove(cluster, world.tablePrefix, key)
  const prefix = prefixOf(world.tablePrefix, key)
  for (const moves of [false, true]) {
    if (moves) await moving.moveKey(`${prefix}s:${key}`)
    for (const call of [
      () => ask(store, claimOf('o2', key, 'm2')),
      () => store.renew([{ owner: 'o1', rows: [{ key, fencingToken: token }], ...LONG }]),
      () => store.settle([settlementOf('o1', key, 'm1', token)]),
      () => store.look(addresses(['m1'], key)),
    ]) {
      expect(await refusal(call())).toMatchObject({ kind: 'unreachable', answerLost: false })
    }
    // What the servers answer to scripts that declare keys as ours do.
    const script = ['return 1', 2, `${prefix}absent1`, `${prefix}absent2`] as const
    await expect(moving.from.client.eval(...script)).rejects.toThrow(/^ASK /)
    const asking = moving.to.client
      .pipeline()
      .call('ASKING')
      .eval(...script)
    expect(String((await asking.exec())?.[1]?.[0])).toContain('TRYAGAIN')
    // The other buckets are served.
    expect((await ask(store, claimOf(`o ${moves}`, other, 'm3', LONG))).outcome).toBe(moves ? 'held' : 'acquired')
  }
  await moving.finish()
  expect((await ask(store, claimOf('o2', key, 'm2'))).outcome).toBe('held')
  expect(await store.settle([settlementOf('o1', key, 'm1', token)])).toEqual(['contended'])
  expect(await store.look(addresses(['m1'], key))).toHaveLength(1)
})

test('of a batch only those items fail whose slot moves', async () => {
  const store = await open()
  const keys = keysApart(6)
  const moving = await beginMove(cluster, world.tablePrefix, keys[3] ?? '')
  const error = await refusal(store.claim(keys.map((key) => claimOf(`o ${key}`, key, `m ${key}`))))
  await moving.giveUp()
  expect(error).toMatchObject({ kind: 'unreachable', answerLost: false })
  const outcomes = error.verdicts?.map((verdict) => (verdict as [{ outcome: string }])[0]?.outcome)
  expect(outcomes).toEqual(keys.map((_, index) => (index === 3 ? undefined : 'acquired')))
  expect(error.verdicts?.[3]).toMatchObject({ name: 'StoreError', kind: 'unreachable' })
})

test('a claim of several buckets that breaks off gives back what it took', async () => {
  const store = await open()
  const keys = keysApart(3)
  const moving = await beginMove(cluster, world.tablePrefix, keys[2] ?? '')
  for (const whole of [true, false]) {
    const one = claimRows('o1', keys)
    const several = { ...one, whole, parts: keys.flatMap((key) => claimRows('o1', [key], [`m ${key}`]).parts) }
    expect(await refusal(store.claim([one]))).toMatchObject({ kind: 'unreachable', answerLost: false })
    expect(await refusal(store.claim([several]))).toMatchObject({ kind: 'unreachable', answerLost: false })
    expect(await store.sessions({ keys: keys.slice(0, 2), limit: 3 })).toEqual([])
  }
  await moving.giveUp()
  expect((await ask(store, claimRows('o2', keys))).outcome).toBe('acquired')
})

test('a settlement of several buckets that breaks off is undone or finished by its repeat', async () => {
  const store = await open()
  const [other = '', home = '', last = ''] = keysApart(3)
  const rows = [home, other, last]
  const messages = [
    ...claimRows('o', rows, ['m1']).parts.flatMap((part) => part.messages),
    ...claimRows('o', [last], ['m2']).parts.flatMap((part) => part.messages),
  ]
  const claim = claimRows('o', rows)
  const token = await acquire(store, { ...claim, parts: claim.parts.map((part) => ({ ...part, messages })) })
  const held = rows.map((key) => ({ key, fencingToken: token }))
  const settlement = { ...settlementOf('o', home, 'm1', token), rows: held, messages }

  // Where the deciding bucket cannot be had, nothing has happened.
  const first = await beginMove(cluster, world.tablePrefix, home)
  expect((await refusal(store.settle([settlement]))).kind).toBe('unreachable')
  await first.giveUp()
  expect((await store.sessions({ keys: rows, limit: 3 })).map((row) => row.fencingToken)).toEqual([token, token, token])
  expect(await store.messages({ limit: 3 })).toEqual([])

  // Where it is settled and the answer of another one is lost, as when the process that settles dies.
  const second = await beginMove(cluster, world.tablePrefix, last)
  const half = { ...settlement, rows: held.slice(0, 2), messages: messages.slice(0, 1) }
  expect(await store.settle([half])).toEqual(['settled'])
  expect((await refusal(store.settle([settlement]))).kind).toBe('unreachable')
  await second.giveUp()
  expect(await store.look(addresses(['m1'], home))).toHaveLength(1)
  expect((await store.sessions({ keys: rows, limit: 3 })).map((row) => row.key)).toEqual([last])
  expect(await store.settle([settlement])).toEqual(['settled'])
  expect(await store.sessions({ keys: rows, limit: 3 })).toEqual([])
  expect(await store.look(addresses(['m2'], last))).toHaveLength(1)
  expect(await store.settle([settlement])).toEqual(['settled'])
})

test('a part whose message turns out to be completed, behind a row already taken, leaves the others their rows', async () => {
  const store = await open()
  const [session = '', twin = '', fresh = ''] = keysApart(3)
  const done = await acquire(store, claimRows('o1', [twin], ['m']))
  await store.settle([settlementOf('o1', twin, 'm', done)])
  const [twins] = claimRows('o2', [twin, session], ['m']).parts
  const [other] = claimRows('o2', [fresh], ['m2']).parts
  const claim = { ...claimRows('o2', [fresh]), parts: [twins, other].filter((part) => part !== undefined) }
  const [verdict] = await store.claim([claim])
  expect(verdict?.map(({ outcome }) => outcome)).toEqual(['completed', 'acquired'])
  expect((await store.sessions({ limit: 5 })).map((row) => row.key)).toEqual([fresh])
  expect(bucketOf(session)).toBeLessThan(bucketOf(twin))
})

test('it can be examined before and after it is used', async () => {
  const store = await open()
  for (let turn = 0; turn < 2; turn += 1) {
    const findings = (await store.examine?.()) ?? []
    expect(findings.map(({ check }) => check)).toContain('cluster')
    expect(findings.filter(({ level }) => level === 'fault')).toEqual([])
    await store.sessions({ limit: 1 })
  }
})

test('a message whose home is none of its rows is refused', async () => {
  const store = await open()
  const [row = '', home = ''] = keysApart(2)
  const [part] = claimRows('o', [home]).parts
  const claim = { ...claimRows('o', [row]), parts: [{ ...part, rows: claimRows('o', [row]).parts[0]?.rows ?? [] }] }
  expect((await refusal(store.claim([claim as never]))).kind).toBe('data')
})
