/** What the tests of the Redis Cluster share: keys of a certain master, slots that move, and a wrong store's traces. */
import { afterAll, beforeAll } from 'vitest'
import { bucketOf, bucketPrefix } from '../../src/store/redis-buckets.ts'
import { type ClusterNode, startRedisCluster, type TestCluster } from '../servers/redis-cluster.ts'

/** A cluster for all tests of the file; each leaves it whole. */
export function useRedisCluster(): TestCluster {
  let started: TestCluster | undefined
  beforeAll(async () => {
    started = await startRedisCluster()
  })
  afterAll(() => started?.stop())
  return new Proxy({} as TestCluster, { get: (_, name) => Reflect.get(started ?? {}, name) })
}

/** The bucket of a row's key, as the keys on the cluster begin. */
export function prefixOf(tablePrefix: string, rowKey: string): string {
  return bucketPrefix(tablePrefix, bucketOf(rowKey))
}

/** Row keys, each in a bucket of its own, by ascending buckets. */
export function keysApart(count: number): string[] {
  const found = new Map<number, string>()
  for (let index = 0; found.size < count; index++) found.set(bucketOf(`row ${index}`), `row ${index}`)
  return [...found].sort(([one], [other]) => one - other).map(([, key]) => key)
}

/** A slot on its way from one master to another. */
export interface MovingSlot {
  /** Moves one key. */
  readonly moveKey: (key: string) => Promise<unknown>
  /** Moves the keys that are left, and makes the other master the slot's. */
  readonly finish: () => Promise<void>
  /** Leaves the slot where it was; no key may have been moved. */
  readonly giveUp: () => Promise<void>
  readonly from: ClusterNode
  readonly to: ClusterNode
}

/** Begins to move the slot of a row's bucket to another master, as redis-cli does. */
export async function beginMove(cluster: TestCluster, tablePrefix: string, rowKey: string): Promise<MovingSlot> {
  const prefix = prefixOf(tablePrefix, rowKey)
  const from = await cluster.masterOf(prefix)
  const to = (await cluster.mastersNow()).find((master) => master !== from) as ClusterNode
  const slot = await from.client.cluster('KEYSLOT', prefix)
  await to.client.call('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id)
  await from.client.call('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id)
  const { password } = new URL(to.server.url)
  const moveKeys = async (keys: readonly string[]) =>
    from.client.call(
      ...(['MIGRATE', '127.0.0.1', to.server.port, '', 0, 5000, 'AUTH', decodeURIComponent(password), 'KEYS'] as const),
      ...keys,
    )
  return {
    from,
    to,
    moveKey: (key) => moveKeys([key]),
    async finish() {
      for (;;) {
        const keys = await from.client.cluster('GETKEYSINSLOT', slot, 10)
        if (keys.length === 0) break
        await moveKeys(keys)
      }
      await to.client.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id)
      await from.client.call('CLUSTER', 'SETSLOT', slot, 'NODE', to.id)
    },
    async giveUp() {
      for (const { client } of [to, from]) await client.call('CLUSTER', 'SETSLOT', slot, 'STABLE')
    },
  }
}
