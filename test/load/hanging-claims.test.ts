/** Renewals and settlements have a connection of their own: when claims hang, leases live. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { createConnection } from 'mysql2/promise'
import { Client } from 'pg'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { namedSessionKey } from '../../src/engine/keys.ts'
import { createSessionLock, StoreError } from '../../src/index.ts'
import { dropTables, mysqlUrl } from '../stores/mysql-tables.ts'
import { dropPostgresTables, postgresUrl } from '../stores/postgres-tables.ts'

const STALE_AFTER_MS = 3000
/** So long, that a renewal which had to wait for a claim would come too late. */
const STORE_TIMEOUT_MS = 2500
/** Several times as long as a lease lives without renewal. */
const HANG_MS = 3 * STALE_AFTER_MS
const IN_HAND = 20

/** Locks a row of the session table, which exists, until it is told to let go. */
type LockRow = (table: string, key: string) => Promise<() => Promise<void>>

const lockOnMysql: LockRow = async (table, key) => {
  const connection = await createConnection(mysqlUrl())
  await connection.query('BEGIN')
  await connection.query(`SELECT 1 FROM ${table} WHERE session_key = ? FOR UPDATE`, [key])
  return () => connection.end()
}

const lockOnPostgres: LockRow = async (table, key) => {
  const client = new Client({ connectionString: postgresUrl() })
  await client.connect()
  await client.query('BEGIN')
  await client.query(`SELECT 1 FROM ${table} WHERE session_key = $1 FOR UPDATE`, [Buffer.from(key)])
  return () => client.end()
}

let tablePrefix: string
beforeEach(() => {
  tablePrefix = `h${randomBytes(6).toString('hex')}_`
})

describe.each([
  { name: 'mysql', url: mysqlUrl, lockRow: lockOnMysql, forget: dropTables },
  { name: 'postgres', url: postgresUrl, lockRow: lockOnPostgres, forget: dropPostgresTables },
])('$name', ({ url, lockRow, forget }) => {
  afterEach(() => forget(new Set([tablePrefix])))

  test('while every claim hangs on a lock, no lease in hand expires', async () => {
    const open = (options: object) => {
      const made = createSessionLock({ store: url(), tablePrefix, logger: false, lockWaitMs: 0, ...options })
      onTestFinished(() => made.close())
      return made
    }
    const [other, lock] = [
      open({ renew: false }),
      open({ staleAfterMs: STALE_AFTER_MS, storeTimeoutMs: STORE_TIMEOUT_MS }),
    ]
    await Promise.all([other.ready(), lock.ready()])
    const losses: string[] = []
    lock.on('lease_lost', ({ loss }) => losses.push(loss))
    let end: () => void = () => undefined
    const ended = new Promise<void>((resolve) => {
      end = resolve
    })
    let entered = 0
    const handle = () => {
      entered += 1
      return ended
    }
    const elsewhere = other.run({ session: 'locked' }, () => ended)
    const inHand = Array.from({ length: IN_HAND }, (_, index) =>
      lock.run({ messageId: `m${index}`, session: `s${index}` }, handle),
    )
    await expect.poll(() => entered, { timeout: 10_000 }).toBe(IN_HAND)
    await expect.poll(() => other.sessions(), { timeout: 10_000 }).toHaveLength(IN_HAND + 1)

    const letGo = await lockRow(`${tablePrefix}sessions`, namedSessionKey('locked'))
    const until = performance.now() + HANG_MS
    const refused: unknown[] = []
    for (let turn = 0; performance.now() < until; turn += 1) {
      // The first one hangs, and the others hang with it, in its batch or behind it.
      for (const session of ['locked', `a${turn}`, `b${turn}`]) {
        lock.run({ session }, () => undefined).catch((error: unknown) => refused.push(error))
      }
      await sleep(50)
    }
    await letGo()
    expect(refused.length).toBeGreaterThan(0)
    expect(refused.every((error) => error instanceof StoreError)).toBe(true)
    await expect
      .poll(() => lock.run({ session: 'new' }, () => undefined).catch(() => undefined))
      .toMatchObject({
        status: 'processed',
      })
    end()
    expect((await Promise.all(inHand)).map(({ status }) => status)).toEqual(Array(IN_HAND).fill('processed'))
    await elsewhere
    expect(losses).toEqual([])
    expect(await other.messages({ status: 'completed' })).toHaveLength(IN_HAND)
  }, 60_000)
})
