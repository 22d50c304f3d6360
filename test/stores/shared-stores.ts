/** The stores that several processes can share, on the tests' own servers and on files. */
import { join } from 'node:path'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { dropTables, mysqlUrl } from './mysql-tables.ts'
import { dropPostgresTables, postgresUrl } from './postgres-tables.ts'
import { redisUrl, removeKeys } from './redis-keys.ts'

/** A place for tables of any prefix. */
export interface SharedStore {
  readonly name: 'sqlite' | 'mysql' | 'postgres' | 'redis'
  url(): string
  /** Removes what the prefixes name. */
  forget(prefixes: ReadonlySet<string>): Promise<void>
}

let file: string | undefined

/** For `describe.each`. */
export const sharedStores: readonly SharedStore[] = [
  {
    name: 'sqlite',
    url() {
      file ??= join(makeTemporaryDirectory('shared'), 'bot.db')
      return `sqlite:${file}`
    },
    // With its directory, when this process ends.
    forget: async () => undefined,
  },
  { name: 'mysql', url: mysqlUrl, forget: dropTables },
  { name: 'postgres', url: postgresUrl, forget: dropPostgresTables },
  { name: 'redis', url: redisUrl, forget: removeKeys },
]
