/** The store contract on a Redis Cluster: a file of its own, so that no other one pays for starting it. */
import { test, vi } from 'vitest'
import { redisStore } from '../../src/store/redis.ts'
import { storeConformance } from '../../src/testing/index.ts'
import { useRedisCluster } from './redis-cluster-world.ts'

vi.setConfig({ testTimeout: 60_000 })

const cluster = useRedisCluster()

storeConformance({
  name: 'redis cluster',
  test,
  openStore: (settings) => redisStore(cluster.nodes[4]?.server.url ?? '', settings),
})
