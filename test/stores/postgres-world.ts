/** What the Postgres store's own tests share: fresh tables, and a bare connection beside the store. */
import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import { postgresStore } from '../../src/store/postgres.ts'
import { type Names, namesUnder } from '../../src/store/postgres-values.ts'
import type { Store } from '../../src/store/store.ts'
import { until } from './mysql-world.ts'
import { dropPostgresTables, postgresUrl } from './postgres-tables.ts'

/** Fresh tables of one test. */
export interface PostgresWorld {
  readonly tablePrefix: string
  readonly names: Names
  /** One more handle on the tables, as another process would have. */
  open(options?: { url?: string; timeoutMs?: number }): Promise<Store>
  /** A connection beside the store, that can hold locks. */
  connect(): Promise<Client>
  /** Settles when a call of this function waits for a lock; returns the process id of its connection. */
  untilSomeoneWaits(functionName: string): Promise<number>
  /** Settles when a connection listens, other than those; returns its process id. */
  untilListening(options?: { tablePrefix?: string; others?: readonly number[] }): Promise<number>
  close(): Promise<void>
}

/** Makes the tables. */
export async function postgresWorld(): Promise<PostgresWorld> {
  const tablePrefix = `w${randomBytes(6).toString('hex')}_`
  const stores: Store[] = []
  const clients: Client[] = []
  const world: PostgresWorld = {
    tablePrefix,
    names: namesUnder(tablePrefix),
    async open({ url = postgresUrl(), timeoutMs = 10_000 } = {}) {
      const store = await postgresStore(url, { tablePrefix, timeoutMs })
      stores.push(store)
      return store
    },
    async connect() {
      const client = new Client({ connectionString: postgresUrl() })
      await client.connect()
      clients.push(client)
      return client
    },
    async untilSomeoneWaits(functionName) {
      const client = await world.connect()
      let pid = 0
      await until(`${functionName} waits for a lock`, async () => {
        const { rows } = await client.query(
          "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
          [`SELECT ${tablePrefix}${functionName}(%`],
        )
        pid = rows[0]?.pid ?? 0
        return pid !== 0
      })
      return pid
    },
    async untilListening({ tablePrefix: prefix = tablePrefix, others = [] } = {}) {
      const client = await world.connect()
      let pid = 0
      await until('a connection listens', async () => {
        const { rows } = await client.query(
          "SELECT pid FROM pg_stat_activity WHERE state = 'idle' AND query = $1 AND pid <> ALL ($2)",
          [`LISTEN "${prefix}released"`, others],
        )
        pid = rows[0]?.pid ?? 0
        return pid !== 0
      })
      return pid
    },
    async close() {
      await Promise.all([...stores.map((store) => store.close()), ...clients.map((client) => client.end())])
      await dropPostgresTables(new Set([tablePrefix]))
    },
  }
  await (await world.open()).migrate()
  return world
}
