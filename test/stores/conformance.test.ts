import { join } from 'node:path'
import { afterAll, test, vi } from 'vitest'
import { mysqlStore } from '../../src/store/mysql.ts'
import { postgresStore } from '../../src/store/postgres.ts'
import { redisStore } from '../../src/store/redis.ts'
import { sqliteStore } from '../../src/store/sqlite.ts'
import { storeConformance } from '../../src/testing/index.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { memoryHandles } from './memory-handles.ts'
import { dropTables, mysqlUrl } from './mysql-tables.ts'
import { dropPostgresTables, postgresUrl } from './postgres-tables.ts'
import { redisUrl, removeKeys } from './redis-keys.ts'

vi.setConfig({ testTimeout: 60_000 })

storeConformance({ name: 'memory', test, openStore: memoryHandles() })

const directory = makeTemporaryDirectory('conformance')
afterAll(() => removeTemporaryDirectory(directory))
storeConformance({
  name: 'sqlite',
  test,
  queue: true,
  openStore: (settings) => sqliteStore(join(directory, `${settings.tablePrefix}.db`), settings),
})

const prefixes = new Set<string>()
storeConformance({
  name: 'mysql',
  test,
  queue: true,
  openStore: (settings) => {
    prefixes.add(settings.tablePrefix)
    return mysqlStore(mysqlUrl(), settings)
  },
})
afterAll(() => dropTables(prefixes))

const redisPrefixes = new Set<string>()
storeConformance({
  name: 'redis',
  test,
  openStore: (settings) => {
    redisPrefixes.add(settings.tablePrefix)
    return redisStore(redisUrl(), settings)
  },
})
afterAll(() => removeKeys(redisPrefixes))

const postgresPrefixes = new Set<string>()
storeConformance({
  name: 'postgres',
  test,
  queue: true,
  openStore: (settings) => {
    postgresPrefixes.add(settings.tablePrefix)
    return postgresStore(postgresUrl(), settings)
  },
})
afterAll(() => dropPostgresTables(postgresPrefixes))
