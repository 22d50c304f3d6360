/** The Redis store's connections: crashes, losses, replicas, wrong URLs, rights, the user's own client. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { expect, test, vi } from 'vitest'
import type { StoreError } from '../../src/store/store.ts'
import { startSentinel } from '../servers/redis.ts'
import { freePort } from '../servers/server.ts'
import { redisUrl } from './redis-keys.ts'
import { refusal, urlWith, useRedisWorld } from './redis-world.ts'
import { acquire, addresses, ask, claimOf, settlementOf } from './store-items.ts'
import { startStoreProxy } from './store-proxy.ts'

const world = useRedisWorld()

test('a server that would throw locks away when it is full is refused', async () => {
  const server = await world.ownServer('--maxmemory', '50mb', '--maxmemory-policy', 'volatile-lru')
  const store = await world.open(server.url)
  const error = await refusal(store.migrate())
  expect(error.kind).toBe('setup')
  expect(error.message).toContain('volatile-lru')
  expect((await refusal(ask(store, claimOf('o', 's', 'm')))).kind).toBe('setup')
})

test('a server killed in mid traffic: store errors at once, and afterwards what was settled is settled', async () => {
  const server = await world.ownServer('--appendfsync', 'always')
  const store = await world.openPrepared(server.url, 2000)
  const settled: string[] = []
  const errors: StoreError[] = []
  let isOver = false
  const traffic = Array.from({ length: 8 }, async (_, worker) => {
    for (let turn = 0; !isOver; turn++) {
      const id = `${worker}-${turn}`
      try {
        const token = await acquire(store, claimOf(id, `s${id}`, id, { staleAfterMs: 60_000 }))
        if ((await store.settle([settlementOf(id, `s${id}`, id, token, { retentionMs: 600_000 })]))[0] === 'settled')
          settled.push(id)
      } catch (error) {
        errors.push(error as StoreError)
        await sleep(20)
      }
    }
  })
  await vi.waitFor(() => expect(settled.length).toBeGreaterThan(100), 10_000)
  await server.kill()
  const startedAt = performance.now()
  expect(await refusal(store.look(addresses(['x'])))).toMatchObject({ kind: 'unreachable' })
  expect(performance.now() - startedAt).toBeLessThan(1000)
  await server.restart()
  const before = settled.length
  await vi.waitFor(() => expect(settled.length).toBeGreaterThan(before + 100), 10_000)
  isOver = true
  await Promise.all(traffic)
  expect(errors.length).toBeGreaterThan(0)
  expect(new Set(errors.map((error) => `${error.name} ${error.kind}`))).toEqual(new Set(['StoreError unreachable']))
  expect(await store.look(addresses(settled))).toHaveLength(settled.length)
})

test('a claim whose answer was lost says so, and finds its own rows when it is repeated', async () => {
  const server = await world.ownServer()
  const store = await world.openPrepared(server.url, 500)
  await acquire(store, claimOf('o1', 's1', 'm1'))
  await server.kill('SIGSTOP')
  const startedAt = performance.now()
  const claim = claimOf('o2', 's2', 'm2', { staleAfterMs: 60_000 })
  expect(await refusal(ask(store, claim))).toMatchObject({ kind: 'unreachable', answerLost: true })
  expect(performance.now() - startedAt).toBeLessThan(1500)
  await server.kill('SIGCONT')
  expect((await ask(store, claim)).outcome).toBe('acquired')
  expect((await ask(store, { ...claim, owner: 'o3' })).outcome).toBe('held')
})

test('nothing is sent late to a server that is down: each call fails at once, and says that nothing was written', async () => {
  const store = await world.open('redis://127.0.0.1:1')
  for (let turn = 0; turn < 5; turn++) {
    const startedAt = performance.now()
    const error = await refusal(ask(store, claimOf('o', 's', 'm')))
    expect(error).toMatchObject({ kind: 'unreachable', answerLost: false })
    expect(error.message).toContain('ECONNREFUSED')
    expect(performance.now() - startedAt).toBeLessThan(500)
  }
})

test('a replica refuses claims with a store error', async () => {
  const master = await world.ownServer()
  const replica = await world.ownServer('--replicaof', `127.0.0.1 ${master.port}`)
  await world.openPrepared(master.url)
  const store = await world.open(replica.url)
  const admin = world.client(replica.url)
  await vi.waitFor(async () => expect(await admin.get(`${world.tablePrefix}version`)).toBe('1'), 10_000)
  expect(await refusal(ask(store, claimOf('o', 's', 'm')))).toMatchObject({ kind: 'unreachable', answerLost: false })
})

test('who asks for replicas gets a verdict only where they have it', async () => {
  const master = await world.ownServer()
  const url = urlWith((it) => {
    it.search = '?waitReplicas=1&waitMs=200'
  }, master.url)
  const store = await world.openPrepared(url)
  const error = await refusal(ask(store, claimOf('o1', 's', 'm', { staleAfterMs: 60_000 })))
  expect(error).toMatchObject({ kind: 'unreachable', answerLost: true })
  expect(error.message).toContain('0 of 1 replicas')
  const replica = await world.ownServer('--replicaof', `127.0.0.1 ${master.port}`)
  const copy = world.client(replica.url)
  await vi.waitFor(async () => expect(await copy.exists(`${world.tablePrefix}s:s`)).toBe(1), 10_000)
  await vi.waitFor(async () => void (await acquire(store, claimOf('o1', 's', 'm'))), 10_000)
  await acquire(store, claimOf('o2', 's2', 'm2'))
  expect(await copy.exists(`${world.tablePrefix}s:s2`)).toBe(1)
})

test('who listens hears again after the connection was lost', async () => {
  const server = await world.ownServer()
  const store = await world.openPrepared(server.url)
  const heard: string[] = []
  store.listen?.((key) => heard.push(key))
  await server.kill()
  await server.restart()
  const admin = world.client(server.url)
  await vi.waitFor(async () => expect(await admin.publish(`${world.tablePrefix}released`, 'row')).toBe(1), 10_000)
  await vi.waitFor(() => expect(heard).toEqual(['row']))
})

test('a wrong password is an error of kind setup, that does not hold it', async () => {
  const store = await world.open(
    urlWith((url) => {
      url.password = 'hidden'
    }),
  )
  const error = await refusal(store.migrate())
  expect(error.kind).toBe('setup')
  expect(`${error.message} ${JSON.stringify(error.cause)} ${store.name}`).not.toContain('hidden')
  const without = await world.open(
    urlWith((url) => {
      url.password = ''
    }),
  )
  expect((await refusal(without.migrate())).kind).toBe('setup')
})

test('a database that the server lacks is an error of kind setup, and nothing is written into the first one', async () => {
  const store = await world.open(
    urlWith((url) => {
      url.pathname = '/99999'
    }),
  )
  expect(await refusal(store.migrate())).toMatchObject({
    kind: 'setup',
    message: expect.stringMatching(/no database of that number/),
  })
  expect(await world.client().keys(`${world.tablePrefix}*`)).toEqual([])
})

test('a user who may not run scripts is an error of kind setup', async () => {
  const admin = world.client()
  const user = `u${world.tablePrefix}`
  world.afterwards(() => admin.acl('DELUSER', user))
  await admin.acl('SETUSER', user, 'on', '>secret', '~*', '&*', '+@all', '-@scripting')
  await world.openPrepared()
  const store = await world.open(
    urlWith((url) => {
      url.username = user
      url.password = 'secret'
    }),
  )
  expect((await refusal(ask(store, claimOf('o', 's', 'm')))).kind).toBe('setup')
})

test('a user with the rights that the advice names may do all there is to do, and the doctor tells of others', async () => {
  const server = await world.ownServer()
  const admin = world.client(server.url)
  const change = { username: 'bot', password: 'secret', pathname: '/1' }
  const url = urlWith((changed) => Object.assign(changed, change), server.url)
  await admin.acl('SETUSER', 'bot', 'on', '>secret')
  const { message } = await refusal((await world.open(url)).migrate())
  const rights = /Allow it ([^(]+) \(/.exec(message)?.[1]?.replaceAll('<prefix>', world.tablePrefix).split(' ') ?? []
  await admin.acl('SETUSER', 'bot', ...rights)

  const store = await world.openPrepared(url)
  const heard = new Promise((resolve) => store.listen?.(resolve))
  await vi.waitUntil(async () => (await admin.pubsub('NUMSUB', `${world.tablePrefix}released`))[1] === 1)
  const token = await acquire(store, claimOf('o', 's', 'm'))
  expect(await store.renew([{ owner: 'o', rows: [{ key: 's', fencingToken: token }], staleAfterMs: 1000 }])).toEqual([
    [true],
  ])
  expect((await ask(store, claimOf('p', 's', 'n'))).outcome).toBe('held')
  expect(await store.settle([settlementOf('o', 's', 'm', token)])).toEqual(['contended'])
  expect(await heard).toBe('s')
  expect(await store.look(addresses(['m']))).toHaveLength(1)
  await acquire(store, claimOf('q', 'other', 'n'))
  expect(await store.release(['other'])).toHaveLength(1)
  expect(await store.sessions({ limit: 9 })).toEqual([])
  expect(await store.messages({ limit: 9 })).toHaveLength(1)
  expect((await store.stats()).messages.completed).toBe(1)
  await store.cleanup({ abandonedAfterMs: 0, limit: 9 })
  const privileges = async () => (await store.examine?.())?.find(({ check }) => check === 'privileges')
  expect(await privileges()).toMatchObject({ level: 'ok' })
  await admin.acl('SETUSER', 'bot', '-zadd', '-smembers')
  expect(await privileges()).toMatchObject({ level: 'fault', text: 'this user may not: SMEMBERS; ZADD' })
})

test.each([
  ['redis://', /names no host|must be like/],
  ['redis://localhost/bot', /database is a number/],
  ['redis://localhost?waitReplicas=many', /waitReplicas/],
])('the URL %s is refused', async (url, text) => {
  const error = await refusal(world.open(url))
  expect([error.kind, text.test(error.message)]).toEqual(['setup', true])
})

test("a client of the user's own is duplicated, keeps its key prefix, and is left open", async () => {
  const own = new Redis(redisUrl(), { keyPrefix: world.tablePrefix, stringNumbers: true })
  world.afterwards(() => own.disconnect())
  const store = await world.openPrepared(own)
  const token = await acquire(store, claimOf('o', 's', 'm'))
  expect(await own.exists(`${world.tablePrefix}s:s`)).toBe('1')
  expect(await store.settle([settlementOf('o', 's', 'm', token)])).toEqual(['settled'])
  await store.close()
  expect(await own.ping()).toBe('PONG')
})

test('a node of no cluster yet is an error; it is a cluster by itself once it has all slots', async () => {
  const server = await world.ownServer('--cluster-enabled', 'yes', '--cluster-port', String(await freePort()))
  const store = await world.open(server.url)
  expect(await refusal(store.migrate())).toMatchObject({ kind: 'unreachable' })
  await world.client(server.url).call('CLUSTER', 'ADDSLOTSRANGE', 0, 16_383)
  await vi.waitFor(async () => expect(await store.migrate()).toHaveLength(1), 10_000)
  expect((await ask(store, claimOf('o', 's', 'm'))).outcome).toBe('acquired')
})

test('a store uses two connections under load, and a third to listen', async () => {
  const server = await world.ownServer()
  const store = await world.openPrepared(server.url)
  store.listen?.(() => {})
  const claims = Array.from({ length: 200 }, (_, index) => ask(store, claimOf(`o${index}`, `s${index}`, `m${index}`)))
  await Promise.all([
    ...claims,
    ...Array.from({ length: 50 }, () => store.renew([{ owner: 'o', rows: [], staleAfterMs: 1 }])),
  ])
  const list = String(await world.client(server.url).client('LIST'))
  expect(list.trim().split('\n')).toHaveLength(4)
})

test('behind Sentinel: when the master dies, the store goes on with its successor, and what is held stays held', async () => {
  const master = await world.ownServer()
  const replica = await world.ownServer('--replicaof', `127.0.0.1 ${master.port}`)
  const sentinel = await startSentinel(master)
  world.afterwards(() => sentinel.stop())
  const sentinels = [{ host: '127.0.0.1', port: sentinel.port }]
  const own = new Redis({ sentinels, name: 'bot', password: sentinel.password, lazyConnect: true })
  world.afterwards(() => own.disconnect())
  const store = await world.openPrepared(own)
  const token = await acquire(store, claimOf('o1', 's', 'm', { staleAfterMs: 60_000 }))
  const copy = world.client(replica.url)
  await vi.waitFor(async () => expect(await copy.exists(`${world.tablePrefix}s:s`)).toBe(1), 10_000)
  const asked = world.client(`redis://127.0.0.1:${sentinel.port}`)
  await vi.waitFor(async () => expect(await asked.call('SENTINEL', 'REPLICAS', 'bot')).toHaveLength(1), 15_000)
  await master.kill()
  expect(await refusal(ask(store, claimOf('o2', 's', 'm')))).toMatchObject({ kind: 'unreachable' })
  await vi.waitFor(async () => expect((await ask(store, claimOf('o2', 's', 'm'))).outcome).toBe('held'), 20_000)
  expect(await store.settle([settlementOf('o1', 's', 'm', token)])).toEqual(['contended'])
  expect((await ask(store, claimOf('o2', 's', 'm'))).outcome).toBe('completed')
}, 60_000)

test('a process that is busy loading still gets its store ready, however short the limit of a call is', async () => {
  const server = await world.ownServer()
  const store = await world.open(server.url, 100)
  await server.kill('SIGSTOP')
  const migrating = store.migrate()
  await sleep(400)
  await server.kill('SIGCONT')
  expect(await migrating).toHaveLength(1)
})

test('a connection that has gone silent is given up: the next call has another one', async () => {
  const proxy = await startStoreProxy(redisUrl())
  world.afterwards(() => proxy.close())
  const store = await world.openPrepared(proxy.url, 300)
  proxy.decide = () => 'hold'
  expect(await refusal(ask(store, claimOf('o1', 's', 'm')))).toMatchObject({ kind: 'unreachable', answerLost: true })
  proxy.decide = () => 'pass'
  expect((await ask(store, claimOf('o1', 's', 'm'))).outcome).toBe('acquired')
})

test('a master that has become a replica is left for the one that the name now stands for', async () => {
  const [before, after] = [await world.ownServer(), await world.ownServer()]
  let url = before.url
  const named = world.client(before.url)
  const own = {
    options: {},
    callBuffer: named.callBuffer,
    duplicate: (options?: object) => new Redis(url, options ?? {}),
  }
  const store = await world.openPrepared(own)
  await world.openPrepared(after.url)
  await acquire(store, claimOf('o1', 's1', 'm1'))
  url = after.url
  await named.replicaof('127.0.0.1', after.port)
  expect(await refusal(ask(store, claimOf('o2', 's2', 'm2')))).toMatchObject({ kind: 'unreachable', answerLost: false })
  expect((await ask(store, claimOf('o2', 's2', 'm2'))).outcome).toBe('acquired')
})
