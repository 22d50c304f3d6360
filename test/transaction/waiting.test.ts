/** Who waits for a session that another node holds: in the database, for as long as he said, beside everybody else. */
import { describe, expect, test } from 'vitest'
import type { Delivery } from '../../src/index.ts'
import { until } from '../stores/mysql-world.ts'
import { createWorld, databases, gate, rowsOf } from './world.ts'

const key = (messageId: string) => ({ messageId, prospect: '4917', device: 'bot' })

describe.each(databases)('$name', (database) => {
  test('a waiter sleeps in the database, and has the session when its holder commits', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock(), world.lock({ lockWaitMs: 20_000 })]
    const handler = gate()
    const order: string[] = []
    const holding = first.run(key('m1'), async (lease) => {
      await lease.tx.query(world.add)
      await handler.pass()
      order.push('first')
    })
    await handler.entered
    const waiting = second.run(key('m2'), async (lease) => {
      order.push('second')
      const [row] = await rowsOf(lease.tx, `SELECT balance FROM ${world.tablePrefix}accounts`)
      return Number(row?.['balance'])
    })
    await world.untilBlocked()
    handler.open()
    expect(await waiting).toEqual({ status: 'processed', value: 1, takeover: false })
    await holding
    expect(order).toEqual(['first', 'second'])
  })

  test('a waiter has the session at once when its holder’s connection is gone, however young the lease is', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock({ staleAfterMs: 60_000 }), world.lock({ lockWaitMs: 20_000 })]
    const handler = gate()
    let id: unknown
    const holding = first.run(key('m1'), async (lease) => {
      await lease.tx.query(world.add)
      id = (await rowsOf(lease.tx, database.connectionId))[0]?.['id']
      await handler.pass()
    })
    holding.catch(() => undefined)
    await handler.entered
    const waiting = second.run(key('m2'), (lease) => lease.tx.query(world.add))
    await world.untilBlocked()
    await world.bare.query(database.kill(id))
    expect(await waiting).toMatchObject({ status: 'processed', takeover: true })
    handler.open()
    await expect(holding).rejects.toMatchObject({ loss: 'connection' })
    expect(await world.balance()).toBe(1)
    expect(await second.messages()).toMatchObject([{ messageId: 'm2', status: 'completed' }])
  })

  test('at its deadline a waiter is told: busy, or that this very message is in flight', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock(), world.lock({ lockWaitMs: 150 })]
    const handler = gate()
    const holding = first.run(key('m1'), handler.pass)
    await handler.entered
    expect(await second.run(key('m2'), () => 'never')).toMatchObject({ status: 'busy' })
    expect(await second.run(key('m1'), () => 'never')).toMatchObject({ status: 'duplicate', of: 'in_flight' })
    // Nobody is left waiting in the database, and the connections of those who waited serve again.
    expect(await world.bare.query(database.waiting(database.lockStatement(world.tablePrefix)))).toEqual([])
    expect(await second.run({ session: 'other' }, (lease) => lease.tx.query(world.add))).toMatchObject({
      status: 'processed',
    })
    handler.open()
    await holding
    expect(await second.run(key('m2'), () => 'now')).toMatchObject({ status: 'processed' })
    expect(await second.run(key('m1'), () => 'never')).toEqual({ status: 'duplicate', of: 'completed' })
  })

  test('how long we wait for a lock is no setting of the handler’s connection', async () => {
    const world = await createWorld(database)
    const setting = database.name === 'MariaDB' ? '@@innodb_lock_wait_timeout' : "current_setting('lock_timeout')"
    const [usual] = await world.bare.query(`SELECT ${setting} AS value`)
    const [first, second] = [world.lock(), world.lock({ lockWaitMs: 20_000 })]
    const handler = gate()
    const holding = first.run(key('m1'), handler.pass)
    await handler.entered
    const waiting = second.run(key('m2'), (lease) => rowsOf(lease.tx, `SELECT ${setting} AS value`))
    await world.untilBlocked()
    handler.open()
    expect(await waiting).toMatchObject({ value: [usual] })
    await holding
  })

  test('one process asks the database once for a session, however many of its messages wait', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock(), world.lock({ lockWaitMs: 20_000, maxTransactions: 2 })]
    const handler = gate()
    const holding = first.run(key('m0'), handler.pass)
    await handler.entered
    let running = 0
    const waiting = Array.from({ length: 30 }, (_, index) =>
      second.run(key(`w${index}`), async (lease) => {
        running += 1
        expect(running).toBe(1)
        await lease.tx.query(world.add)
        running -= 1
      }),
    )
    await world.untilBlocked()
    // With one of two transactions waiting, the other one serves other sessions.
    expect(await second.run({ session: 'other' }, () => 'at once')).toMatchObject({ status: 'processed' })
    expect(await world.bare.query(database.waiting(database.lockStatement(world.tablePrefix)))).toHaveLength(1)
    handler.open()
    await holding
    await Promise.all(waiting)
    expect(await world.balance()).toBe(30)
  })

  test('beyond maxTransactions a message waits for a free one, up to its deadline', async () => {
    const world = await createWorld(database)
    const lock = world.lock({ maxTransactions: 2 })
    const handlers = [gate(), gate()]
    const holding = handlers.map((handler, index) => lock.run({ session: `held ${index}` }, handler.pass))
    await Promise.all(handlers.map((handler) => handler.entered))
    expect(await lock.run({ session: 'third' }, () => 'never', { lockWaitMs: 100 })).toMatchObject({ status: 'busy' })
    const third = lock.run({ session: 'third' }, () => 'after', { lockWaitMs: 20_000 })
    handlers[0]?.open()
    expect(await third).toMatchObject({ value: 'after' })
    handlers[1]?.open()
    await Promise.all(holding)
  })

  test('who wants it no longer waits no longer in the database, and another has his place', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock(), world.lock({ lockWaitMs: 20_000, maxTransactions: 1 })]
    const handler = gate()
    const holding = first.run(key('m1'), handler.pass)
    await handler.entered
    const [ofAsleep, ofInLine] = [new AbortController(), new AbortController()]
    const asleep = second.run(key('m2'), () => 'never', { signal: ofAsleep.signal })
    await world.untilBlocked()
    const inLine = second.run({ session: 'line' }, () => 'never', { signal: ofInLine.signal })
    const other = second.run({ session: 'other' }, () => 'now')
    for (const controller of [ofInLine, ofAsleep]) controller.abort(new Error('not needed any more'))
    await expect(asleep).rejects.toThrow('not needed any more')
    await expect(inLine).rejects.toThrow('not needed any more')
    expect(await other).toMatchObject({ value: 'now' })
    handler.open()
    await holding
  })

  test('a lock that closes refuses who waits in the database, and begins nothing more', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock(), world.lock({ lockWaitMs: 20_000 })]
    const handler = gate()
    const holding = first.run(key('m1'), handler.pass)
    await handler.entered
    const waiting = second.run(key('m2'), () => 'never')
    await world.untilBlocked()
    const refused = expect(waiting).rejects.toMatchObject({ code: 'CLOSED' })
    await second.close()
    await refused
    await expect(second.run(key('m3'), () => 'never')).rejects.toMatchObject({ code: 'CLOSED' })
    handler.open()
    await holding
  })

  test('a completed duplicate needs no transaction', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock(), world.lock({ maxTransactions: 1 })]
    await first.run(key('done'), () => 'once')
    const handler = gate()
    const holding = second.run({ session: 'held' }, handler.pass)
    await handler.entered
    expect(await second.run(key('done'), () => 'never')).toEqual({ status: 'duplicate', of: 'completed' })
    handler.open()
    await holding
  })

  test('nobody holds a lock while waiting for another: what is free goes to others meanwhile', async () => {
    const world = await createWorld(database)
    const [first, second, third] = [
      world.lock(),
      world.lock({ lockWaitMs: 20_000 }),
      world.lock({ lockWaitMs: 20_000 }),
    ]
    const handler = gate()
    const holding = first.run({ prospect: 'b', device: 'bot' }, handler.pass)
    await handler.entered
    const waiting = second.claim(deliveryOf('a', 'b', 'c'))
    await world.untilBlocked()
    for (const prospect of ['a', 'c']) {
      expect(await third.run({ prospect, device: 'bot' }, () => 1)).toMatchObject({ status: 'processed' })
    }
    handler.open()
    await holding
    const outcome = await waiting
    if (outcome.outcome !== 'acquired') throw new Error(outcome.outcome)
    expect(outcome.hold.leases).toHaveLength(3)
    await outcome.hold.settle({ status: 'completed' })
  })

  test('at its deadline a delivery takes the sessions that are free', async () => {
    const world = await createWorld(database)
    const [first, second] = [world.lock(), world.lock({ lockWaitMs: 100 })]
    const handler = gate()
    const holding = first.run({ prospect: 'b', device: 'bot' }, handler.pass)
    await handler.entered
    const outcome = await second.claim(deliveryOf('a', 'b', 'c'))
    if (outcome.outcome !== 'acquired') throw new Error(outcome.outcome)
    expect(outcome.hold.leases.map((lease) => lease.prospect)).toEqual(['a', 'c'])
    expect(outcome.hold.withheld).toMatchObject({ reason: 'busy', messages: [1] })
    await outcome.hold.leases[0]?.tx?.query(world.add)
    await outcome.hold.settle({ status: 'completed' })
    expect(await world.balance()).toBe(1)
    handler.open()
    await holding
  })

  test('many waiters leave the user’s own pool alone', async () => {
    const world = await createWorld(database)
    const pool = database.pool()
    const holder = world.lock()
    const lock = world.lock({ store: pool.store, maxTransactions: 20, lockWaitMs: 60_000 })
    await lock.ready()
    const sessions = Array.from({ length: 200 }, (_, index) => ({ session: `hot ${index % 20}` }))
    const handlers = sessions.slice(0, 10).map(() => gate())
    const holding = handlers.map((handler, index) => holder.run({ session: `hot ${index}` }, handler.pass))
    await Promise.all(handlers.map((handler) => handler.entered))
    const waiting = sessions.map((session) => lock.run(session, () => 'done'))
    await world.untilBlocked()
    // There is one connection left in it for us.
    expect(await pool.query('SELECT 1 AS one')).toMatchObject([{ one: 1 }])
    for (const handler of handlers) handler.open()
    await Promise.all(holding)
    const results = await Promise.all(waiting)
    expect(results.filter(({ status }) => status === 'processed')).toHaveLength(200)
    await lock.close()
    await pool.end()
  }, 60_000)

  test('nodes of both strategies exclude each other', async () => {
    const world = await createWorld(database)
    const locks = [
      world.lock({ lockWaitMs: 20_000 }),
      world.lock({ lockWaitMs: 20_000, strategy: 'lease' }),
      world.lock({ lockWaitMs: 20_000 }),
      world.lock({ lockWaitMs: 20_000, strategy: 'lease' }),
    ]
    let running = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 80 }, (_, index) =>
        (locks[index % 4] as (typeof locks)[number]).run(key(`m${index}`), async () => {
          running += 1
          most = Math.max(most, running)
          await new Promise((resolve) => setTimeout(resolve, 1))
          running -= 1
        }),
      ),
    )
    expect(most).toBe(1)
    expect(await locks[0]?.messages({ status: 'completed', limit: 999 })).toHaveLength(80)
  })

  test('a live lease is not taken over with the lock, and a live transaction not by a lease', async () => {
    const world = await createWorld(database)
    const [transactions, leases] = [world.lock({ lockWaitMs: 100 }), world.lock({ lockWaitMs: 100, strategy: 'lease' })]
    for (const [holder, other] of [
      [transactions, leases],
      [leases, transactions],
    ] as const) {
      const handler = gate()
      const holding = holder.run(key('m1'), async () => {
        await handler.pass()
        throw new Error('so that it comes again')
      })
      holding.catch(() => undefined)
      await handler.entered
      expect(await other.run(key('m2'), () => 'never')).toMatchObject({ status: 'busy' })
      expect(await other.run(key('m1'), () => 'never')).toMatchObject({ status: 'duplicate', of: 'in_flight' })
      handler.open()
      await expect(holding).rejects.toThrow('comes again')
    }
  })

  test('whoever waits for a live lease holds no lock meanwhile', async () => {
    const world = await createWorld(database)
    const [leases, first, second] = [
      world.lock({ strategy: 'lease' }),
      world.lock({ lockWaitMs: 20_000 }),
      world.lock({ lockWaitMs: 20_000 }),
    ]
    const handler = gate()
    const holding = leases.run(key('m1'), handler.pass)
    await handler.entered
    const waiting = [first, second].map((lock, index) =>
      lock.run(key(`w${index}`), (lease) => lease.tx.query(world.add)),
    )
    await until('both are refused by turns', async () => (await leases.sessions())[0]?.contended === true)
    handler.open()
    await Promise.all([holding, ...waiting])
    expect(await world.balance()).toBe(2)
  })

  test('a lock that nobody has goes with the clean-up; one that is held stays', async () => {
    const world = await createWorld(database)
    const lock = world.lock({ maxHoldMs: 30_000, cleanupEveryMs: 0 })
    const handler = gate()
    for (const session of ['a', 'b', 'c']) await lock.run({ session }, () => 1)
    await world.ageLocks()
    const holding = lock.run({ session: 'b' }, handler.pass)
    await handler.entered
    await lock.cleanup()
    expect(await world.locks()).toEqual(database.name === 'MariaDB' ? ['n:1:b'] : [])
    const next = world.lock({ lockWaitMs: 20_000 }).run({ session: 'b' }, () => 'next')
    await world.untilBlocked()
    handler.open()
    expect(await next).toMatchObject({ value: 'next' })
    await holding
  })
})

function deliveryOf(...prospects: string[]): Delivery {
  return { provider: 'test', messages: prospects.map((prospect) => ({ id: `m-${prospect}`, prospect, device: 'bot' })) }
}
