/** A Redis Cluster whose slots move and whose masters die under traffic: nobody else gets what somebody holds. */
import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { createSessionLock, type LeaseLostError, type SessionLock, type SessionLockOptions } from '../../src/index.ts'
import type { ClusterNode } from '../servers/redis-cluster.ts'
import { assertExclusive, startTraffic } from './redis-cluster-traffic.ts'
import { beginMove, prefixOf, useRedisCluster } from './redis-cluster-world.ts'
import { refusal, useRedisWorld } from './redis-world.ts'
import { acquire, ask, claimOf } from './store-items.ts'

const cluster = useRedisCluster()
const world = useRedisWorld()
vi.setConfig({ testTimeout: 60_000 })

/** Of any node. */
function aUrl(): string {
  return cluster.nodes[randomInt(cluster.nodes.length)]?.server.url ?? ''
}

/** As in a process of its own. */
async function openLock(options: SessionLockOptions = {}): Promise<SessionLock> {
  const { tablePrefix } = world
  const fixed = { store: aUrl(), tablePrefix, logger: false, closeTimeoutMs: 0, cleanupEveryMs: 0 } as const
  const lock = createSessionLock({ ...fixed, ...options })
  onTestFinished(() => lock.close())
  await lock.ready()
  return lock
}

/** By session: the key of its row. */
const rowKeyOf = (session: string) => `s:-:${session.length}:${session}`

/** Sessions, by the master that has them now. */
async function sessionsByMaster(count: number): Promise<Map<ClusterNode, string[]>> {
  const found = new Map<ClusterNode, string[]>()
  for (const session of Array.from({ length: count }, (_, index) => `session${index}`)) {
    const master = await cluster.masterOf(prefixOf(world.tablePrefix, rowKeyOf(session)))
    found.set(master, [...(found.get(master) ?? []), session])
  }
  return found
}

test('slots that move under traffic: no two holders, nothing done twice, and the traffic goes on', async () => {
  const seed = randomInt(2 ** 31)
  const byMaster = await sessionsByMaster(24)
  const sessions = [...byMaster.values()].flat()
  const traffic = startTraffic(await Promise.all([openLock(), openLock(), openLock()]), sessions, seed)
  onTestFinished(() => traffic.stop())
  for (const session of sessions.slice(0, 6)) {
    await vi.waitFor(() => expect(traffic.countOf(session)).toBeGreaterThan(3), 10_000)
    const moving = await beginMove(cluster, world.tablePrefix, rowKeyOf(session))
    await sleep(300)
    await moving.finish()
    const before = traffic.countOf(session)
    await vi.waitFor(() => expect(traffic.countOf(session)).toBeGreaterThan(before + 3), 10_000)
  }
  await traffic.stop()
  assertExclusive(traffic)
  expect(traffic.errors.length, `seed ${seed}`).toBeGreaterThan(0)
})

test('a master killed under traffic: the others go on, its replica follows, and what was held stays held', async () => {
  const seed = randomInt(2 ** 31)
  const byMaster = await sessionsByMaster(24)
  const [[victim, theirs], ...others] = [...byMaster] as [[ClusterNode, string[]], ...[ClusterNode, string[]][]]
  const locks = await Promise.all([openLock(), openLock(), openLock()])
  const [held = '', ...sessions] = [...theirs, ...others.flatMap(([, some]) => some)]
  let isLost = false
  let finish = () => {}
  const holding = locks[0]?.run({ messageId: 'long', prospect: held }, async ({ signal }) => {
    signal.addEventListener('abort', () => {
      isLost = true
    })
    await new Promise<void>((resolve) => {
      finish = resolve
    })
  })
  const traffic = startTraffic(locks, sessions, seed)
  onTestFinished(() => traffic.stop())
  for (const session of sessions) await vi.waitFor(() => expect(traffic.countOf(session)).toBeGreaterThan(1), 10_000)

  const killedAt = performance.now()
  await victim.server.kill()
  const living = others.flatMap(([, some]) => some)
  const counts = living.map(traffic.countOf)
  await vi.waitFor(
    () => living.forEach((session, index) => void expect(traffic.countOf(session)).toBeGreaterThan(counts[index] ?? 0)),
    10_000,
  )
  for (const session of theirs.slice(1)) {
    const before = traffic.countOf(session)
    await vi.waitFor(() => expect(traffic.countOf(session)).toBeGreaterThan(before + 1), 20_000)
  }
  await traffic.stop()
  assertExclusive(traffic, killedAt)
  expect(traffic.errors.length, `seed ${seed}`).toBeGreaterThan(0)
  const stranger = await locks[1]?.run({ messageId: 'other', prospect: held }, () => 1, { lockWaitMs: 0 })
  expect([stranger?.status, isLost]).toEqual(['busy', false])
  finish()
  expect(await holding).toMatchObject({ status: 'processed' })
  await victim.server.restart()
  await cluster.untilWhole()
})

test('a master that is silent holds up nobody but its own, and leaves when it has a successor', async () => {
  const byMaster = await sessionsByMaster(24)
  const [[victim, [theirs = '']], [, [other = '']]] = [...byMaster] as [
    [ClusterNode, string[]],
    [ClusterNode, string[]],
  ]
  const store = await world.openPrepared(aUrl(), 1000)
  const claims = (owner: string) =>
    [theirs, other].map((session) => claimOf(`${owner}${session}`, rowKeyOf(session), 'm'))
  expect((await store.claim(claims('a'))).flat().map(({ outcome }) => outcome)).toEqual(['acquired', 'acquired'])
  await victim.server.kill('SIGSTOP')
  const error = await refusal(store.claim(claims('b')))
  // From then on nobody waits for it for as long.
  const startedAt = performance.now()
  for (let turn = 0; turn < 3; turn++) await store.claim(claims('b')).catch(() => undefined)
  expect(performance.now() - startedAt).toBeLessThan(2000)
  await victim.server.kill('SIGCONT')
  expect(error).toMatchObject({ kind: 'unreachable', answerLost: true })
  expect(error.verdicts).toMatchObject([{ kind: 'unreachable', answerLost: true }, [{ outcome: 'held' }]])
  await cluster.untilWhole()
  await vi.waitFor(async () => void (await ask(store, claimOf('c', rowKeyOf(theirs), 'm'))), 10_000)
})

/** A replica that gets nothing more from its master, and a session of that master. */
async function cutReplica(): Promise<{ master: ClusterNode; session: string; replica: ClusterNode }> {
  const { master, session, replica } = await vi.waitFor(findReplica, 20_000)
  await replica.server.kill('SIGSTOP')
  world.afterwards(() => replica.server.kill('SIGCONT'))
  // Else what it was sent would wait for it in the system's buffers.
  await master.client.call('CLIENT', 'KILL', 'TYPE', 'replica')
  return { master, session, replica }
}

/** After a failover it takes a moment until every master has one again. */
async function findReplica(): Promise<{ master: ClusterNode; session: string; replica: ClusterNode }> {
  for (const [master, [session = '']] of await sessionsByMaster(24)) {
    const replicas = String(await master.client.cluster('REPLICAS', master.id))
    const replica = cluster.nodes.find(({ id }) => replicas.startsWith(id))
    if (replica) return { master, session, replica }
  }
  throw new Error('no master has a replica')
}

test('who waits for replicas is given nothing that a successor would not know of', async () => {
  const store = await world.openPrepared(`${aUrl()}?waitReplicas=1&waitMs=100`)
  const { session, replica } = await cutReplica()
  const error = await refusal(ask(store, claimOf('o', rowKeyOf(session), 'm')))
  expect(error).toMatchObject({ kind: 'unreachable', answerLost: true })
  expect(error.message).toContain('0 of 1 replicas')
  await replica.server.kill('SIGCONT')
  await cluster.untilWhole()
  await vi.waitFor(async () => void (await acquire(store, claimOf('o', rowKeyOf(session), 'm'))), 10_000)
})

test('without that, a claim lost with its master gives its session two holders, until the first one’s heartbeat', async () => {
  const locks = [await openLock({ staleAfterMs: 18_000 }), await openLock({ staleAfterMs: 18_000 })]
  const { master, session, replica } = await cutReplica()
  let aborted: LeaseLostError | undefined
  const first = locks[0]?.run({ messageId: 'm1', prospect: session }, async ({ signal, fencingToken }) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve))
    aborted = signal.reason
    return fencingToken
  })
  await vi.waitFor(async () => expect(await locks[1]?.sessions()).toHaveLength(1), 5000)
  await master.server.kill()
  await replica.server.kill('SIGCONT')
  const second = await vi.waitFor(async () => {
    const result = await locks[1]?.run({ messageId: 'm2', prospect: session }, ({ fencingToken }) => {
      return { fencingToken, isFirstTold: aborted !== undefined }
    })
    if (result?.status !== 'processed') throw new Error(`${result?.status}`)
    return result.value
  }, 20_000)
  expect(second.isFirstTold).toBe(false)
  const outcome = await first
  expect(aborted?.loss).toBe('refused')
  expect(second.fencingToken).toBeGreaterThan(outcome?.status === 'processed' ? outcome.value : 0)
  expect((await locks[1]?.messages())?.map((message) => message.messageId)).toEqual(['m2'])
  await master.server.restart()
  await cluster.untilWhole()
})
