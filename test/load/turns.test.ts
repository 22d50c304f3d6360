/** A session that several processes want all the time changes hands: none of them keeps it to itself. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { dropTables, mysqlUrl } from '../stores/mysql-tables.ts'
import { dropPostgresTables, postgresUrl } from '../stores/postgres-tables.ts'
import { redisUrl, removeKeys } from '../stores/redis-keys.ts'

const TURNS = 120
const directory = makeTemporaryDirectory('turns')
afterAll(() => removeTemporaryDirectory(directory))

const stores = {
  sqlite: { url: (prefix: string) => `sqlite:${join(directory, prefix)}.db`, forget: async () => undefined },
  mysql: { url: mysqlUrl, forget: dropTables },
  postgres: { url: postgresUrl, forget: dropPostgresTables },
  redis: { url: redisUrl, forget: removeKeys },
}

describe.each(Object.entries(stores))('%s', (_, { url, forget }) => {
  // One waiter: the line of its process is empty between its turns.
  test.each([1, 4])(
    'two processes with %i steady waiters each: both get a third of the turns, or nearly',
    async (waiters) => {
      const tablePrefix = `t${randomBytes(6).toString('hex')}_`
      const locks = ['a', 'b'].map((nodeId) =>
        createSessionLock({ store: url(tablePrefix), tablePrefix, nodeId, logger: false, lockWaitMs: 30_000 }),
      )
      let turns = 0
      let inside = 0
      const had = [0, 0]
      const steadily = async (index: number) => {
        while (turns < TURNS) {
          await locks[index]?.run({ session: 'wanted' }, async () => {
            inside += 1
            expect(inside).toBe(1)
            await sleep(2)
            inside -= 1
            turns += 1
            had[index] = (had[index] ?? 0) + 1
          })
        }
      }
      try {
        await Promise.all(locks.map((lock) => lock.ready()))
        await Promise.all([0, 1].flatMap((index) => Array.from({ length: waiters }, () => steadily(index))))
        expect(Math.min(...had) / turns).toBeGreaterThanOrEqual(0.3)
      } finally {
        await Promise.all(locks.map((lock) => lock.close()))
        await forget(new Set([tablePrefix]))
      }
    },
    60_000,
  )
})
