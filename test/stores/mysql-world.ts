/** What the MySQL store's own tests share: fresh tables, a bare connection beside the store, and short ways to ask. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Connection, createConnection, type RowDataPacket } from 'mysql2/promise'
import { mysqlStore } from '../../src/store/mysql.ts'
import { type TableNames, tableNames } from '../../src/store/mysql-statements.ts'
import type { Claim, ClaimPart, PartVerdict, Settlement, Store } from '../../src/store/store.ts'
import { dropTables, mysqlUrl } from './mysql-tables.ts'

/** Fresh tables of one test. */
export interface MysqlWorld {
  readonly tablePrefix: string
  readonly names: TableNames
  /** One more handle on the tables, as another process would have. */
  open(options?: { url?: string; timeoutMs?: number }): Promise<Store>
  /** A connection beside the store, that can hold locks. */
  connect(): Promise<Connection>
  /** Settles when an INSERT into these tables has been running for a while: it waits for a lock. */
  untilSomeoneWaits(): Promise<void>
  close(): Promise<void>
}

/** Makes the tables. */
export async function mysqlWorld(): Promise<MysqlWorld> {
  const tablePrefix = `w${randomBytes(6).toString('hex')}_`
  const stores: Store[] = []
  const connections: Connection[] = []
  const world: MysqlWorld = {
    tablePrefix,
    names: tableNames(tablePrefix),
    async open({ url = mysqlUrl(), timeoutMs = 10_000 } = {}) {
      const store = await mysqlStore(url, { tablePrefix, timeoutMs })
      stores.push(store)
      return store
    },
    async connect() {
      const connection = await createConnection(mysqlUrl())
      await connection.query("SET time_zone = '+00:00'")
      connections.push(connection)
      return connection
    },
    async untilSomeoneWaits() {
      const connection = await world.connect()
      let times = 0
      // Not by innodb_trx: InnoDB refreshes that only for those who have not looked for 100 ms.
      await until('a statement waits for a lock', async () => {
        const [rows] = await connection.query<RowDataPacket[]>(
          'SELECT 1 FROM information_schema.processlist WHERE info LIKE ? AND id <> CONNECTION_ID()',
          [`INSERT INTO ${tablePrefix}%`],
        )
        times = rows.length > 0 ? times + 1 : 0
        return times > 10
      })
    },
    async close() {
      await Promise.all([...stores.map((store) => store.close()), ...connections.map((each) => each.end())])
      await dropTables(new Set([tablePrefix]))
    },
  }
  await (await world.open()).migrate()
  return world
}

/** Asks until the answer is true; fails after 10 s. */
export async function until(what: string, probe: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!(await probe())) {
    if (performance.now() > deadline) throw new Error(`waited 10 s in vain until ${what}`)
    await sleep(10)
  }
}

/** A part of one row, with these messages. */
export function part(row: string, ...messages: string[]): ClaimPart {
  return {
    rows: [{ key: row, prospect: row, device: null }],
    messages: messages.map((key) => ({ key, home: row, provider: 'test', device: null, id: key })),
  }
}

/** A claim of these parts. */
export function claimOf(owner: string, parts: ClaimPart[], changes: Partial<Claim> = {}): Claim {
  return { owner, nodeId: 'node-1', parts, whole: true, staleAfterMs: 30_000, tokenAbove: 0, ...changes }
}

/** Claims one part. */
export async function claimOne(store: Store, owner: string, wanted: ClaimPart, staleAfterMs = 30_000) {
  const [verdict] = await store.claim([claimOf(owner, [wanted], { staleAfterMs })])
  return verdict?.[0] as PartVerdict
}

/** The token of a part that was acquired. */
export function tokenOf(verdict: PartVerdict | undefined): number {
  if (verdict?.outcome !== 'acquired') throw new Error(`not acquired: ${JSON.stringify(verdict)}`)
  return verdict.fencingToken
}

/** A settlement of one part. */
export function settlementOf(
  owner: string,
  { rows, messages }: ClaimPart,
  fencingToken: number,
  outcome: Settlement['outcome'] = 'completed',
): Settlement {
  const held = rows.map((row) => ({ key: row.key, fencingToken }))
  return { owner, nodeId: 'node-1', rows: held, messages, outcome, retentionMs: 60_000, error: null, response: null }
}
