/** G8: what a handler writes through `lease.tx` and the mark "completed" commit together, or neither does. */
import { describe, expect, test } from 'vitest'
import { LeaseLostError, TransactionEndedError } from '../../src/index.ts'
import { until } from '../stores/mysql-world.ts'
import { createWorld, databases, gate, rowsOf } from './world.ts'

function untilAborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(undefined)
    signal.addEventListener('abort', resolve)
  })
}

const key = { messageId: 'm1', prospect: '4917', device: 'bot' }

describe.each(databases)('$name', (database) => {
  test('the handler’s writes and its message are there together, and nobody sees them before', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    const handler = gate()
    const running = lock.run(key, async (lease) => {
      await lease.tx.query(world.add)
      await handler.pass()
      return 'done'
    })
    await handler.entered
    expect(await world.balance()).toBe(0)
    expect(await lock.messages()).toMatchObject([{ status: 'processing' }])
    expect(await lock.sessions()).toMatchObject([{ prospect: '4917', strategy: 'transaction', stale: false }])
    handler.open()
    expect(await running).toEqual({ status: 'processed', value: 'done', takeover: false })
    expect(await world.balance()).toBe(1)
    expect(await lock.messages()).toMatchObject([{ messageId: 'm1', status: 'completed', attempts: 1 }])
    expect(await lock.sessions()).toEqual([])
    expect(await lock.run(key, () => 'again')).toEqual({ status: 'duplicate', of: 'completed' })
    expect(await world.lock().run(key, () => 'elsewhere')).toEqual({ status: 'duplicate', of: 'completed' })
  })

  test('a throw rolls both back, and the redelivery is handled', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    const failing = lock.run(key, async (lease) => {
      await lease.tx.query(world.add)
      throw new Error('no luck')
    })
    await expect(failing).rejects.toThrow('no luck')
    expect(await world.balance()).toBe(0)
    expect(await lock.messages()).toMatchObject([{ status: 'failed', attempts: 1, lastError: 'no luck' }])
    expect(await lock.sessions()).toEqual([])
    expect(await lock.run(key, (lease) => lease.tx.query(world.add))).toMatchObject({
      status: 'processed',
      takeover: false,
    })
    expect(await world.balance()).toBe(1)
    expect(await lock.messages()).toMatchObject([{ status: 'completed', attempts: 2, lastError: null }])
  })

  test('a session alone, and a message alone', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    for (const alone of [{ session: 'nightly' }, { messageId: 'lone' }]) {
      await lock.run(alone, (lease) => lease.tx.query(world.add))
    }
    expect(await world.balance()).toBe(2)
    expect(await lock.sessions()).toEqual([])
    expect(await lock.messages()).toMatchObject([{ messageId: 'lone', status: 'completed' }])
  })

  test('the sessions of one delivery share one transaction', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    const messages = ['a', 'b', 'c'].map((name) => ({ id: `m-${name}`, prospect: name, device: 'bot' }))
    const outcome = await lock.claim({ provider: 'test', messages })
    if (outcome.outcome !== 'acquired') throw new Error(outcome.outcome)
    const { leases } = outcome.hold
    expect(leases).toHaveLength(3)
    const [tx] = new Set(leases.map((lease) => lease.tx))
    await tx?.query(world.add)
    expect(await outcome.hold.settle({ status: 'completed' })).toBe('settled')
    expect(await world.balance()).toBe(1)
    expect((await lock.messages({ status: 'completed' })).map((row) => row.messageId).sort()).toEqual([
      'm-a',
      'm-b',
      'm-c',
    ])
  })

  const ends: ReadonlyArray<readonly [string, (table: string) => string]> = [
    ['COMMIT', () => 'COMMIT'],
    ['ROLLBACK', () => 'ROLLBACK'],
    ...(database.name === 'MariaDB'
      ? ([
          ['BEGIN', () => 'BEGIN'],
          ['DDL', (table: string) => `CREATE TABLE ${table} (id INT)`],
        ] as const)
      : ([['a failed statement', () => 'SELECT 1 / 0']] as const)),
  ]
  test.each(ends)('a transaction that the handler ends by %s fails its message, and says so', async (_, statement) => {
    const world = await createWorld(database)
    const lock = world.lock()
    const running = lock.run(key, async (lease) => {
      await lease.tx.query(statement(`${world.tablePrefix}more`)).catch(() => undefined)
      await lease.tx.query(world.add).catch(() => undefined)
      return 'as if nothing had happened'
    })
    await expect(running).rejects.toThrow(TransactionEndedError)
    await expect(running).rejects.toThrow(/COMMIT, ROLLBACK or BEGIN/)
    expect(await lock.messages()).toMatchObject([{ status: 'failed', attempts: 1 }])
    expect(await lock.sessions()).toEqual([])
    expect(await lock.run(key, () => 'redelivered')).toMatchObject({ status: 'processed' })
  })

  test('a deadlock that the handler swallows fails its message', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    const accounts = `${world.tablePrefix}accounts`
    await world.bare.query(`INSERT INTO ${accounts} VALUES (2, 0)`)
    const add = (id: number) => `UPDATE ${accounts} SET balance = balance + 1 WHERE id = ${id}`
    const [first, second] = [gate(), gate()]
    const swallow = (
      other: ReturnType<typeof gate>,
      mine: ReturnType<typeof gate>,
      ids: readonly number[],
      name: string,
    ) =>
      lock.run({ messageId: name }, async (lease) => {
        await lease.tx.query(add(ids[0] as number))
        void mine.pass()
        await other.entered
        await lease.tx.query(add(ids[1] as number)).catch(() => undefined)
      })
    const ended = await Promise.allSettled([swallow(second, first, [1, 2], 'a'), swallow(first, second, [2, 1], 'b')])
    expect(ended.map((each) => each.status).sort()).toEqual(['fulfilled', 'rejected'])
    expect(ended.find((each) => each.status === 'rejected')?.reason).toBeInstanceOf(TransactionEndedError)
    const [sum] = await world.bare.query(`SELECT SUM(balance) AS sum FROM ${accounts}`)
    expect(Number(sum?.['sum'])).toBe(2)
  })

  test('a savepoint of the handler’s own does no harm', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    await lock.run(key, async (lease) => {
      await lease.tx.query(world.add)
      await lease.tx.query('SAVEPOINT mine')
      await lease.tx.query('SELECT no_such_column').catch(() => undefined)
      await lease.tx.query(world.add).catch(() => undefined)
      await lease.tx.query('ROLLBACK TO SAVEPOINT mine')
    })
    expect(await world.balance()).toBe(1)
  })

  test('a connection cut in the middle: the signal aborts, the message fails, the redelivery is handled', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    const losses: string[] = []
    lock.on('lease_lost', ({ loss }) => losses.push(loss))
    const running = lock.run(key, async (lease) => {
      await lease.tx.query(world.add)
      const [mine] = await rowsOf(lease.tx, database.connectionId)
      await world.bare.query(database.kill(mine?.['id']))
      await untilAborted(lease.signal)
      expect(lease.signal.reason).toBeInstanceOf(LeaseLostError)
      return 'too late'
    })
    await expect(running).rejects.toThrow(LeaseLostError)
    await expect(running).rejects.toMatchObject({ loss: 'connection' })
    expect(losses).toEqual(['connection'])
    expect(await world.balance()).toBe(0)
    expect(await lock.messages()).toMatchObject([{ status: 'failed', attempts: 1 }])
    await lock.run(key, (lease) => lease.tx.query(world.add))
    expect(await world.balance()).toBe(1)
  })

  test('a connection cut while a statement runs: the statement rejects, the message fails', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    await world.bare.query('BEGIN')
    await world.bare.query(world.add)
    const running = lock.run(key, (lease) => lease.tx.query(world.add))
    running.catch(() => undefined)
    const other = await database.connect()
    let id: unknown
    await until('the handler’s statement waits', async () => {
      id = (await other.query(database.waiting('UPDATE %accounts%')))[0]?.['id']
      return id !== undefined
    })
    await other.query(database.kill(id))
    await other.end()
    await expect(running).rejects.toThrow()
    await world.bare.query('ROLLBACK')
    expect(await lock.messages()).toMatchObject([{ status: 'failed' }])
    await lock.run(key, (lease) => lease.tx.query(world.add))
    expect(await world.balance()).toBe(1)
  })

  test('a session released by force: what its handler wrote is rolled back', async () => {
    const world = await createWorld(database)
    const lock = world.lock({ staleAfterMs: 3000, storeTimeoutMs: 5000 })
    const running = lock.run(key, async (lease) => {
      await lease.tx.query(world.add)
      await lock.release(key)
      await untilAborted(lease.signal)
    })
    await expect(running).rejects.toMatchObject({ loss: 'refused' })
    expect(await world.balance()).toBe(0)
    expect(await lock.run(key, (lease) => lease.tx.query(world.add))).toMatchObject({ takeover: true })
    expect(await world.balance()).toBe(1)
  })

  test('a handler beyond maxHoldMs loses its transaction, and the next has the session', async () => {
    const world = await createWorld(database)
    const lock = world.lock({
      storeTimeoutMs: 5000,
      staleAfterMs: 1500,
      maxHoldMs: 1500,
      lockWaitMs: 10_000,
      maxTransactions: 1,
    })
    const losses: string[] = []
    lock.on('lease_lost', ({ loss }) => losses.push(loss))
    const handler = gate()
    const running = lock.run(key, async (lease) => {
      await lease.tx.query(world.add)
      void handler.pass()
      await lease.tx.query(database.sleep)
    })
    running.catch(() => undefined)
    await handler.entered
    await lock.run({ ...key, messageId: 'm2' }, (lease) => lease.tx.query(world.add))
    // What it was waiting for is not waited for any more.
    await expect(running).rejects.toThrow(/connection/i)
    expect(losses).toEqual(['max_hold'])
    expect(await world.balance()).toBe(1)
  })
})
