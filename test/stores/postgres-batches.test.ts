/** The rules of a batch on Postgres: each of these fails without its rule. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Store } from '../../src/store/store.ts'
import { claimOf, claimOne, part, settlementOf, tokenOf, until } from './mysql-world.ts'
import { postgresUrl } from './postgres-tables.ts'
import { type PostgresWorld, postgresWorld } from './postgres-world.ts'
import { addresses } from './store-items.ts'
import { startStoreProxy as startProxy } from './store-proxy.ts'

let world: PostgresWorld
let store: Store

beforeEach(async () => {
  world = await postgresWorld()
  store = await world.open()
})
afterEach(() => world.close())

test('an answer lost is told, and the repeat under the same owners finds everything done', async () => {
  const proxy = await startProxy(postgresUrl())
  const behind = await world.open({ url: proxy.url })
  const loseAnswer = (text: string) => (/(claim|settle)\(/.test(text) ? 'pass-then-cut' : 'pass')
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
  await world.untilSomeoneWaits('claim')
  await holder.query('SELECT pg_sleep(1.2)')
  const { rows } = await holder.query('SELECT extract(epoch FROM clock_timestamp()) * 1000000 AS micros')
  const micros = Number(rows[0].micros)
  await holder.query('COMMIT')
  const token = tokenOf(await claiming)
  expect(token).toBeGreaterThan(before)
  expect(token).toBeGreaterThanOrEqual(micros)
  const [row] = await store.sessions({ limit: 1 })
  expect(row).toMatchObject({ owner: 'waits', stale: false, fencingToken: token })
  expect(row?.expiresAt).toBeGreaterThanOrEqual(micros / 1000 + 999)
})

test('a renewal that waited for the row lives its full time from then on', async () => {
  const token = tokenOf(await claimOne(store, 'me', part('row')))
  const holder = await world.connect()
  await holder.query('BEGIN')
  await holder.query(`SELECT 1 FROM ${world.names.sessions} WHERE session_key = 'row' FOR UPDATE`)
  const held = [{ key: 'row', fencingToken: token }]
  const renewing = store.renew([{ owner: 'me', rows: held, staleAfterMs: 1000 }])
  await world.untilSomeoneWaits('renew')
  await holder.query('SELECT pg_sleep(1.2)')
  await holder.query('ROLLBACK')
  expect(await renewing).toEqual([[true]])
  expect(await store.sessions({ limit: 1 })).toMatchObject([{ owner: 'me', stale: false }])
})

test('the look is from after the lock: a message completed during the wait is seen, and the row is given back', async () => {
  const token = tokenOf(await claimOne(store, 'first', part('row', 'message')))
  const holder = await world.connect()
  await holder.query('BEGIN')
  await holder.query(`DELETE FROM ${world.names.sessions} WHERE session_key = 'row'`)
  const claiming = claimOne(store, 'second', part('row', 'message'))
  await world.untilSomeoneWaits('claim')
  await holder.query(
    `INSERT INTO ${world.names.messages}
      (message_key, provider, message_id, status, owner, fencing_token, attempts, expires_at)
      VALUES ('message', 'test', 'message', 'completed', 'first', $1, 1, now() + interval '1 hour')`,
    [token],
  )
  await holder.query('COMMIT')
  expect(await claiming).toMatchObject({ outcome: 'completed', completed: [{ key: 'message' }] })
  expect(await store.sessions({ limit: 9 })).toEqual([])
})

test('rows that cross in two batches are locked in one order: no deadlock, whether they are claimed, renewed or settled', async () => {
  const stores = [store, await world.open()]
  for (let round = 0; round < 60; round++) {
    const keys = Array.from({ length: 12 }, (_, index) => `row-${round}-${index}`)
    const orders = [keys, [...keys].reverse()]
    const claims = orders.map((order, who) => order.map((key) => claimOf(`${who}-${key}`, [part(key, `m${key}`)])))
    const verdicts = await Promise.all(stores.map((each, who) => each.claim(claims[who] ?? [])))
    const won = verdicts.flatMap((batch, who) =>
      batch.flatMap(([verdict], index) =>
        verdict?.outcome === 'acquired'
          ? [{ owner: claims[who]?.[index]?.owner ?? '', key: orders[who]?.[index] ?? '', token: verdict.fencingToken }]
          : [],
      ),
    )
    expect(won.map(({ key }) => key).sort()).toEqual([...keys].sort())
    const heartbeats = won.map(({ owner, key, token }) => {
      return { owner, rows: [{ key, fencingToken: token }], staleAfterMs: 30_000 }
    })
    await Promise.all([store.renew(heartbeats), stores[1]?.renew([...heartbeats].reverse())])
    const settlements = won.map(({ owner, key, token }) => settlementOf(owner, part(key, `m${key}`), token))
    const settled = await Promise.all([store.settle(settlements), stores[1]?.settle([...settlements].reverse())])
    expect(settled.flat().filter((verdict) => verdict === 'lost')).toEqual([])
  }
})

test('every call uses the primary keys, on empty tables too', async () => {
  const probe = await world.connect()
  const scans = async () => {
    const { rows } = await probe.query(
      `SELECT sum(seq_scan)::integer AS scans, sum(idx_scan)::integer AS lookups,
        (SELECT idx_scan::integer FROM pg_stat_user_indexes WHERE indexrelname = $2) AS expiry
      FROM pg_stat_user_tables WHERE relname = ANY ($1)`,
      [[world.names.sessions, world.names.messages], `${world.names.messages}_expiry`],
    )
    return rows[0]
  }
  await store.close()
  const before = await scans()
  const fresh = await world.open()
  const wanted = part('row', 'message')
  await fresh.look(addresses(['message']))
  const token = tokenOf(await claimOne(fresh, 'a', wanted))
  await claimOne(fresh, 'b', wanted)
  await fresh.renew([{ owner: 'a', rows: [{ key: 'row', fencingToken: token }], staleAfterMs: 1000 }])
  await fresh.settle([settlementOf('a', wanted, token)])
  await fresh.settle([settlementOf('a', wanted, token)])
  await fresh.release(['row'])
  // A connection hands in its counts at the latest when it ends.
  await fresh.close()
  await until('the calls are counted', async () => (await scans()).lookups > before.lookups + 5)
  expect(await scans()).toMatchObject({ scans: before.scans, expiry: before.expiry })
})

test('a lease is settled by key, owner and token together, not by any of them from a neighbour in the batch', async () => {
  await claimOne(store, 'old', part('row-1', 'm1'), 1)
  await store.claim([claimOf('new', [part('row-1', 'm2'), part('row-2', 'm3')])])
  const client = await world.connect()
  // Two leases of one claim can carry one token.
  await client.query(`UPDATE ${world.names.sessions} SET fencing_token = 77`)
  const verdicts = await store.settle([
    settlementOf('old', part('row-1', 'm1'), 77),
    settlementOf('new', part('row-2', 'm3'), 77),
  ])
  expect(verdicts).toEqual(['lost', 'settled'])
  expect(await store.sessions({ limit: 9 })).toMatchObject([{ key: 'row-1', owner: 'new' }])
  expect(await store.messages({ limit: 9 })).toMatchObject([{ key: 'm3' }])
})

test('a batch that the database refuses for its data has changed nothing, and the next one goes through', async () => {
  const bad = { ...part('bad', 'm2'), rows: [{ key: 'bad', prospect: 'x'.repeat(513), device: null }] }
  const batch = [claimOf('a', [part('a-good', 'm1')]), claimOf('b', [bad])]
  const error = await store.claim(batch).catch((reason: unknown) => reason)
  expect(error).toMatchObject({ kind: 'data', answerLost: false })
  expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('xxx')
  expect(await store.sessions({ limit: 9 })).toEqual([])

  const token = tokenOf(await claimOne(store, 'a', part('a-good', 'm1')))
  const settlement = settlementOf('a', part('a-good', 'm1'), token)
  const refused = {
    ...settlement,
    messages: [{ key: 'm1', home: 'row', provider: 'p', device: null, id: 'i'.repeat(513) }],
  }
  await expect(store.settle([refused])).rejects.toMatchObject({ kind: 'data' })
  expect(await store.sessions({ limit: 9 })).toHaveLength(1)
  expect(await store.settle([settlement])).toEqual(['settled'])
})

test('what passes is no fault of the data: nothing is given up for it', async () => {
  const token = tokenOf(await claimOne(store, 'a', part('row', 'm1')))
  const connection = await world.connect()
  const { messages, prefix } = world.names
  for (const [state, kind] of [
    ['XX000', 'unreachable'],
    ['55000', 'unreachable'],
    ['25P02', 'unreachable'],
    ['40001', 'conflict'],
    ['22001', 'data'],
  ]) {
    await connection.query(`CREATE FUNCTION ${prefix}refuse() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '${state}'; END $$`)
    await connection.query(`CREATE TRIGGER refuse BEFORE INSERT ON ${messages} FOR EACH ROW
      EXECUTE FUNCTION ${prefix}refuse()`)
    const settling = store.settle([settlementOf('a', part('row', 'm1'), token)])
    await expect(settling, state).rejects.toMatchObject({ kind })
    await connection.query(`DROP FUNCTION ${prefix}refuse() CASCADE`)
  }
  expect(await store.settle([settlementOf('a', part('row', 'm1'), token)])).toEqual(['settled'])
})

test('a settlement that waits for a lock is a conflict after its time, and is undone whole', async () => {
  const impatient = await world.open({ timeoutMs: 1000 })
  const token = tokenOf(await claimOne(impatient, 'a', part('row', 'message')))
  const holder = await world.connect()
  await holder.query('BEGIN')
  await holder.query(
    `INSERT INTO ${world.names.messages} (message_key, provider, message_id, status) VALUES ('message', 'p', 'i', 'failed')`,
  )
  const settlement = settlementOf('a', part('row', 'message'), token)
  await expect(impatient.settle([settlement])).rejects.toMatchObject({ kind: 'conflict', answerLost: false })
  await holder.query('ROLLBACK')
  expect(await store.sessions({ limit: 9 })).toHaveLength(1)
  expect(await impatient.settle([settlement])).toEqual(['settled'])
})

test('a database that does not read committed is an error of the set-up, not a wrong verdict', async () => {
  const url = new URL(postgresUrl())
  url.searchParams.set('options', '-c default_transaction_isolation=serializable')
  const other = await world.open({ url: url.href })
  await expect(claimOne(other, 'a', part('row'))).rejects.toMatchObject({
    kind: 'setup',
    message: expect.stringMatching(/ALTER ROLE/),
  })
})

test('a batch is one round trip, to claim and to settle', async () => {
  const proxy = await startProxy(postgresUrl())
  const behind = await world.open({ url: proxy.url })
  await behind.look(addresses(['warm']))
  await behind.renew([])
  const sent: string[] = []
  proxy.decide = (text) => {
    sent.push(text)
    return 'pass'
  }
  const claims = [1, 2, 3].map((index) => claimOf(`o${index}`, [part(`row-${index}`, `m-${index}`)]))
  const verdicts = await behind.claim(claims)
  expect(sent).toHaveLength(1)
  const settlements = claims.map(({ owner, parts: [wanted] }, index) =>
    settlementOf(owner, wanted ?? part('none'), tokenOf(verdicts[index]?.[0])),
  )
  expect(await behind.settle(settlements)).toEqual(['settled', 'settled', 'settled'])
  expect(sent).toHaveLength(2)
  await proxy.close()
})
