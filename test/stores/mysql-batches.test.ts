/** The rules of a batch on MySQL and MariaDB: each of these fails without its rule. */
import type { RowDataPacket } from 'mysql2/promise'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { deleteBacklogs, deleteDone } from '../../src/store/mysql-backlogs.ts'
import { deleteAbandonedSessions, deleteExpiredMessages } from '../../src/store/mysql-cleanup.ts'
import { findForClaims } from '../../src/store/mysql-find.ts'
import { lockSessions, markReleased } from '../../src/store/mysql-inspect.ts'
import { deleteHeld, findHandlers, findHolders, markContended, renewHeld } from '../../src/store/mysql-statements.ts'
import { type Store, StoreError } from '../../src/store/store.ts'
import { mysqlUrl } from './mysql-tables.ts'
import { claimOf, claimOne, type MysqlWorld, mysqlWorld, part, settlementOf, tokenOf, until } from './mysql-world.ts'
import { addresses } from './store-items.ts'
import { startStoreProxy } from './store-proxy.ts'

let world: MysqlWorld
let store: Store

beforeEach(async () => {
  world = await mysqlWorld()
  store = await world.open()
})
afterEach(() => world.close())

test('a verdict counts only after COMMIT has answered', async () => {
  const proxy = await startStoreProxy(mysqlUrl())
  const behind = await world.open({ url: proxy.url, timeoutMs: 1000 })
  await claimOne(behind, 'warm', part('warm'))
  let commits = 0
  proxy.decide = (text) => {
    if (!text.includes('COMMIT')) return 'pass'
    commits++
    return 'hold'
  }
  const error = await claimOne(behind, 'early', part('row', 'message')).catch((reason: unknown) => reason)
  expect(commits).toBe(1)
  expect(error).toBeInstanceOf(StoreError)
  expect(error).toMatchObject({ kind: 'unreachable', answerLost: true })
  expect(tokenOf(await claimOne(store, 'next', part('row', 'message')))).toBeGreaterThan(0)
  await proxy.close()
})

test('an answer lost after COMMIT is told, and the repeat under the same owners finds everything done', async () => {
  const proxy = await startStoreProxy(mysqlUrl())
  const behind = await world.open({ url: proxy.url })
  const loseAnswer = (text: string) => (text.includes('COMMIT') ? 'pass-then-cut' : 'pass')
  const wanted = part('row', 'message')

  await behind.look(addresses(['none']))
  proxy.decide = loseAnswer
  await expect(claimOne(behind, 'me', wanted)).rejects.toMatchObject({ kind: 'unreachable', answerLost: true })
  expect(await store.sessions({ limit: 9 })).toMatchObject([{ key: 'row', owner: 'me' }])
  proxy.decide = () => 'pass'
  const token = tokenOf(await claimOne(behind, 'me', wanted))

  await behind.renew([])
  proxy.decide = loseAnswer
  const settlement = settlementOf('me', wanted, token)
  await expect(behind.settle([settlement])).rejects.toMatchObject({ kind: 'unreachable', answerLost: true })
  proxy.decide = () => 'pass'
  expect(await behind.settle([settlement])).toEqual(['settled'])
  expect(await store.messages({ limit: 9 })).toMatchObject([{ key: 'message', status: 'completed', attempts: 1 }])
  await proxy.close()
})

test('the stamp is from after the lock: a lease had after a long wait lives its full time and has the larger token', async () => {
  const before = tokenOf(await claimOne(store, 'before', part('row'), 1))
  const holder = await world.connect()
  await holder.query('BEGIN')
  await holder.query(`DELETE FROM ${world.names.sessions} WHERE session_key = 'row'`)
  const claiming = claimOne(store, 'waits', part('row', 'message'), 1000)
  await world.untilSomeoneWaits()
  await holder.query('SELECT SLEEP(1.2)')
  const [[clock]] = await holder.query<RowDataPacket[]>(
    "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6)) AS micros",
  )
  await holder.query('COMMIT')
  const token = tokenOf(await claiming)
  expect(token).toBeGreaterThan(before)
  expect(token).toBeGreaterThanOrEqual(clock?.['micros'])
  const [row] = await store.sessions({ limit: 1 })
  expect(row).toMatchObject({ owner: 'waits', stale: false, fencingToken: token })
  expect(row?.expiresAt).toBeGreaterThanOrEqual(clock?.['micros'] / 1000 + 999)
})

test('the look is from after the lock: a message completed during the wait is seen, and the row is given back', async () => {
  const token = tokenOf(await claimOne(store, 'first', part('row', 'message')))
  const holder = await world.connect()
  await holder.query('BEGIN')
  await holder.query(`DELETE FROM ${world.names.sessions} WHERE session_key = 'row'`)
  const claiming = claimOne(store, 'second', part('row', 'message'))
  await world.untilSomeoneWaits()
  await holder.query(
    `INSERT INTO ${world.names.messages}
      (message_key, provider, message_id, status, owner, fencing_token, attempts, expires_at)
      VALUES ('message', 'test', 'message', 'completed', 'first', ?, 1, UTC_TIMESTAMP(6) + INTERVAL 1 HOUR)`,
    [token],
  )
  await holder.query('COMMIT')
  expect(await claiming).toMatchObject({ outcome: 'completed', completed: [{ key: 'message' }] })
  expect(await store.sessions({ limit: 9 })).toEqual([])
})

test('a row just taken for a completed message is given back, and only that one', async () => {
  const done = part('row-done', 'done')
  await store.settle([settlementOf('a', done, tokenOf(await claimOne(store, 'a', done)))])
  const [completed, fresh] = await store.claim([
    claimOf('b', [part('row-done', 'done')]),
    claimOf('c', [part('row-fresh', 'fresh')]),
  ])
  expect(completed).toMatchObject([{ outcome: 'completed' }])
  expect(fresh).toMatchObject([{ outcome: 'acquired' }])
  expect(await store.sessions({ limit: 9 })).toMatchObject([{ key: 'row-fresh', owner: 'c' }])
})

test('where those with something against them cannot be judged, the others have what they got', async () => {
  const done = part('row-done', 'done')
  await store.settle([settlementOf('a', done, tokenOf(await claimOne(store, 'a', done)))])
  const proxy = await startStoreProxy(mysqlUrl())
  const behind = await world.open({ url: proxy.url })
  await behind.look(addresses(['warm']))
  let texts = 0
  proxy.decide = (text) => {
    if (text.includes('COMMIT') || text.includes('INSERT')) texts++
    return texts > 1 ? 'cut' : 'pass'
  }
  const claims = [claimOf('b', [part('row-done', 'done')]), claimOf('c', [part('row-fresh', 'fresh')])]
  const error = await behind.claim(claims).catch((reason: unknown) => reason)
  expect(error).toMatchObject({
    kind: 'unreachable',
    verdicts: [{ kind: 'unreachable', answerLost: true }, [{ outcome: 'acquired' }]],
  })
  proxy.decide = () => 'pass'
  expect(await behind.claim(claims.slice(0, 1))).toMatchObject([[{ outcome: 'completed' }]])
  expect(await store.sessions({ limit: 9 })).toMatchObject([{ key: 'row-fresh', owner: 'c' }])
  await proxy.close()
})

test('rows that cross in two batches are taken in one order: no deadlock', async () => {
  const stores = [store, await world.open()]
  for (let round = 0; round < 150; round++) {
    const keys = Array.from({ length: 12 }, (_, index) => `row-${round}-${index}`)
    const orders = [keys, [...keys].reverse()]
    const claims = orders.map((order, who) => order.map((key) => claimOf(`${who}-${key}`, [part(key, `m${key}`)])))
    const verdicts = await Promise.all(stores.map((each, who) => each.claim(claims[who] ?? [])))
    const acquired = verdicts.flat(2).filter((verdict) => verdict.outcome === 'acquired')
    expect(acquired).toHaveLength(keys.length)
  }
})

test('every statement that locks uses the primary key, on empty tables too', async () => {
  const connection = await world.connect()
  const { names } = world
  const keys = ['b', 'a', 'c']
  const holds = keys.map((key) => [key, 'owner', 1] as const)
  const statements = {
    findForClaims: findForClaims(names, keys, keys, keys),
    markContended: markContended(names, keys),
    deleteHeld: deleteHeld(names, holds),
    renewHeld: renewHeld(names, holds, 1000),
    findHolders: findHolders(names, keys, true),
    findHandlers: findHandlers(names, keys),
    lockSessions: lockSessions(names, keys),
    markReleased: markReleased(names, keys),
    deleteExpiredMessages: deleteExpiredMessages(names, keys),
    deleteAbandonedSessions: deleteAbandonedSessions(names, keys, 1000),
    deleteBacklogs: deleteBacklogs(names.backlogs, keys),
    deleteDone: deleteDone(names, new Map(keys.map((key) => [key, 7]))),
  }
  for (const [name, { sql, values }] of Object.entries(statements)) {
    const [plan] = await connection.query<RowDataPacket[]>(`EXPLAIN ${sql}`, [...values])
    const tables = plan.filter((step) => step['table'] !== null)
    expect(tables, name).not.toEqual([])
    for (const step of tables) expect(step, name).toMatchObject({ key: 'PRIMARY', type: 'range' })
  }
})

test('a lease is settled by key, owner and token together, not by any of them from a neighbour in the batch', async () => {
  const token = tokenOf(await claimOne(store, 'old', part('row-1', 'm1'), 1))
  await store.claim([claimOf('new', [part('row-1', 'm2'), part('row-2', 'm3')])])
  const connection = await world.connect()
  // Two leases of one claim can carry one token.
  await connection.query(`UPDATE ${world.names.sessions} SET fencing_token = 77`)
  const verdicts = await store.settle([
    settlementOf('old', part('row-1', 'm1'), token),
    settlementOf('new', part('row-2', 'm3'), 77),
  ])
  expect(verdicts).toEqual(['lost', 'settled'])
  expect(await store.sessions({ limit: 9 })).toMatchObject([{ key: 'row-1', owner: 'new' }])
  expect(await store.messages({ limit: 9 })).toMatchObject([{ key: 'm3' }])
})

test('a message completed under another session stays completed when this handler fails', async () => {
  const tokens = await Promise.all(['x', 'y'].map(async (row) => tokenOf(await claimOne(store, row, part(row, 'one')))))
  await store.settle([settlementOf('x', part('x', 'one'), tokens[0] ?? 0)])
  const failed = settlementOf('y', part('y', 'one'), tokens[1] ?? 0, 'failed')
  expect(await store.settle([{ ...failed, error: 'too late' }])).toEqual(['settled'])
  const [message] = await store.messages({ limit: 9 })
  expect(message).toMatchObject({ status: 'completed', owner: 'x', attempts: 1, lastError: null, sessionKey: 'x' })
})

test('what passes is no fault of the data: nothing is given up for it', async () => {
  const token = tokenOf(await claimOne(store, 'a', part('row', 'm1')))
  const connection = await world.connect()
  const { messages } = world.names
  for (const [number, kind] of [
    [9001, 'unreachable'],
    [1203, 'unreachable'],
    [1030, 'unreachable'],
    [3101, 'conflict'],
    [1366, 'data'],
  ]) {
    await connection.query(`CREATE TRIGGER ${messages}_refuse BEFORE INSERT ON ${messages} FOR EACH ROW
      SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = ${number}`)
    const settling = store.settle([settlementOf('a', part('row', 'm1'), token)])
    await expect(settling, String(number)).rejects.toMatchObject({ kind })
    await connection.query(`DROP TRIGGER ${messages}_refuse`)
  }
  expect(await store.settle([settlementOf('a', part('row', 'm1'), token)])).toEqual(['settled'])
})

test('a batch that the database refuses for its data has changed nothing, and the next one goes through', async () => {
  const bad = { ...part('bad', 'm2'), rows: [{ key: 'bad', prospect: 'x'.repeat(513), device: null }] }
  const batch = [claimOf('a', [part('a-good', 'm1')]), claimOf('b', [bad])]
  await expect(store.claim(batch)).rejects.toMatchObject({ kind: 'data', answerLost: false })
  expect(await store.sessions({ limit: 9 })).toEqual([])

  const token = tokenOf(await claimOne(store, 'a', part('a-good', 'm1')))
  const settlement = settlementOf('a', part('a-good', 'm1'), token)
  const refused = {
    ...settlement,
    messages: [{ key: 'k'.repeat(256), home: 'row', provider: 'p', device: null, id: 'm1' }],
  }
  await expect(store.settle([refused])).rejects.toMatchObject({ kind: 'data' })
  expect(await store.sessions({ limit: 9 })).toHaveLength(1)
  expect(await store.settle([settlement])).toEqual(['settled'])
})

test('a settlement that waits for a lock is a conflict after its time, and is undone whole', async () => {
  const impatient = await world.open({ timeoutMs: 2000 })
  const token = tokenOf(await claimOne(impatient, 'a', part('row', 'message')))
  const holder = await world.connect()
  await holder.query('BEGIN')
  await holder.query(
    `INSERT INTO ${world.names.messages} (message_key, provider, message_id, status) VALUES ('message', 'p', 'i', 'failed')`,
  )
  const settlement = settlementOf('a', part('row', 'message'), token)
  await expect(impatient.settle([settlement])).rejects.toMatchObject({ kind: 'conflict', answerLost: false })
  await holder.query('ROLLBACK')
  await until('the row is there again', async () => (await store.sessions({ limit: 9 })).length === 1)
  expect(await impatient.settle([settlement])).toEqual(['settled'])
})
