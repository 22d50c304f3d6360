import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { startRedis } from './redis.ts'
import { freePort, type TestServer } from './server.ts'

/** A throwaway Redis Cluster of the tests' own: masters with one replica each, all real processes on loopback. */
export interface TestCluster {
  /** All of them: first those that begin as masters, then their replicas in the same order. */
  readonly nodes: readonly ClusterNode[]
  /** Those that say that they are masters. */
  readonly mastersNow: () => Promise<ClusterNode[]>
  /** Who has the slot of this key, as most nodes tell. */
  readonly masterOf: (key: string) => Promise<ClusterNode>
  /** Waits until every node that runs says that all slots are served, and every replica has what its master has. */
  readonly untilWhole: () => Promise<void>
  readonly stop: () => Promise<void>
}

/** One process of it. */
export interface ClusterNode {
  readonly server: TestServer
  /** Its name in the cluster. */
  readonly id: string
  /** A client beside the store, for this node alone: it follows no redirection. */
  readonly client: Redis
}

type SlotRange = [from: number, to: number, master: [host: string, port: number]]

const SLOTS = 16_384
const WITHIN_MS = 30_000

/**
 * Starts a cluster of three masters with a replica each. A master without a sign of life is replaced after about a
 * second.
 *
 * @throws Error saying what to install where there is no server program of Redis 7.0 or later, or Valkey.
 */
export async function startRedisCluster(): Promise<TestCluster> {
  const nodes: ClusterNode[] = []
  const stop = async () => {
    for (const { client } of nodes) client.disconnect()
    await Promise.all(nodes.map(({ server }) => server.stop()))
  }
  try {
    await Promise.all(Array.from({ length: 6 }, async () => nodes.push(await startNode())))
    const masters = nodes.slice(0, 3)
    const replicas = nodes.slice(3)
    await join(masters, replicas)
    const cluster: TestCluster = {
      nodes,
      mastersNow: () => mastersOf(nodes),
      masterOf: (key) => masterOf(nodes, key),
      untilWhole: () => untilWhole(nodes),
      stop,
    }
    await cluster.untilWhole()
    return cluster
  } catch (error) {
    await stop()
    throw error
  }
}

async function startNode(): Promise<ClusterNode> {
  const busPort = await freePort()
  const settings = ['--cluster-enabled', 'yes', '--cluster-port', String(busPort), '--cluster-node-timeout', '1000']
  // A replica may take over however long it has not heard from its master: the tests cut it off on purpose.
  settings.push('--cluster-replica-validity-factor', '0', '--repl-ping-replica-period', '1')
  const server = await startRedis(settings)
  const client = new Redis(server.url)
  client.on('error', () => {
    // Tests kill nodes.
  })
  return { server, client, id: String(await client.cluster('MYID')) }
}

async function join(masters: readonly ClusterNode[], replicas: readonly ClusterNode[]): Promise<void> {
  const [first, ...others] = [...masters, ...replicas] as [ClusterNode, ...ClusterNode[]]
  await Promise.all(
    masters.map(async ({ client }, index) => {
      const from = Math.ceil((SLOTS * index) / masters.length)
      const to = Math.ceil((SLOTS * (index + 1)) / masters.length)
      await client.cluster('ADDSLOTS', ...Array.from({ length: to - from }, (_, slot) => from + slot))
      await client.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1)
    }),
  )
  const busPort = String(await first.client.config('GET', 'cluster-port')).split(',')[1] as string
  for (const { client } of others) await client.call('CLUSTER', 'MEET', '127.0.0.1', first.server.port, busPort)
  await Promise.all(
    replicas.map(({ client }, index) =>
      untilTrue('the replica knows its master', async () => {
        await client.cluster('REPLICATE', masters[index]?.id as string)
        return true
      }),
    ),
  )
}

async function mastersOf(nodes: readonly ClusterNode[]): Promise<ClusterNode[]> {
  const roles = await Promise.all(runningOf(nodes).map(async (node) => [node, (await node.client.role())[0]] as const))
  return roles.filter(([, role]) => role === 'master').map(([node]) => node)
}

async function masterOf(nodes: readonly ClusterNode[], key: string): Promise<ClusterNode> {
  const votes = new Map<ClusterNode, number>()
  for (const asked of runningOf(nodes)) {
    const slot = await asked.client.cluster('KEYSLOT', key)
    const ranges = (await asked.client.cluster('SLOTS')) as unknown as SlotRange[]
    const range = ranges.find(([from, to]) => from <= slot && slot <= to)
    const node = nodes.find(({ server }) => server.port === range?.[2][1])
    if (node) votes.set(node, (votes.get(node) ?? 0) + 1)
  }
  const [most] = [...votes].sort(([, one], [, other]) => other - one)
  if (!most) throw new Error(`nobody has the slot of ${key}`)
  return most[0]
}

async function untilWhole(nodes: readonly ClusterNode[]): Promise<void> {
  for (const { client } of runningOf(nodes)) {
    await untilTrue('the cluster is whole', async () => {
      const info = String(await client.cluster('INFO'))
      if (!/cluster_state:ok/.test(info) || !/cluster_slots_ok:16384/.test(info)) return false
      const replication = String(await client.info('replication'))
      return /role:master/.test(replication) || /master_link_status:up/.test(replication)
    })
  }
}

function runningOf(nodes: readonly ClusterNode[]): ClusterNode[] {
  return nodes.filter(({ server }) => server.pid() !== undefined)
}

async function untilTrue(what: string, probe: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WITHIN_MS
  let problem: unknown
  while (performance.now() < deadline) {
    const isTrue = await probe().catch((error: unknown) => {
      problem = error
      return false
    })
    if (isTrue) return
    await sleep(20)
  }
  throw new Error(`waited ${WITHIN_MS} ms in vain until ${what}`, { cause: problem })
}
