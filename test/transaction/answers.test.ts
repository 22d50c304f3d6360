/** In every framework: no 200 before the commit, and a 503 where it fails, so that the message comes again. */
import { describe, expect, test } from 'vitest'
import { post, whatsapp } from '../http/bot.ts'
import { frameworks } from '../http/frameworks.ts'
import { until } from '../stores/mysql-world.ts'
import { createWorld, type Database, databases, mariadb, postgres } from './world.ts'

/** The database is another one's affair, so that one framework on both will do. */
const cases = frameworks.flatMap((framework) =>
  (framework.name === 'Express 5' ? databases : [mariadb]).map((database) => ({ framework, database })),
)

/** Waits for the session's row, in which the handler's transaction is settled. */
const settling = (database: Database, tablePrefix: string) =>
  database.waiting(
    database === postgres
      ? `SELECT ${tablePrefix}settle%`
      : `SELECT session_key, owner%${tablePrefix}sessions%FOR UPDATE`,
  )

describe.each(cases)('$framework.name on $database.name', ({ framework, database }) => {
  test('the answer leaves after the commit', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    const blocker = await database.connect()
    const url = await framework.start(lock, async (seen) => {
      await seen.lock?.leases[0]?.tx?.query(world.add)
      await blocker.query('BEGIN')
      await blocker.query(`SELECT 1 FROM ${world.tablePrefix}sessions FOR UPDATE`)
      return { status: 200, body: '{"ok":true}', type: 'application/json' }
    })
    let isThere = false
    const answering = post(url, whatsapp('ada')).then((response) => {
      isThere = true
      return response
    })
    await until('the handler’s transaction is being settled', async () => {
      return (await world.bare.query(settling(database, world.tablePrefix))).length > 0
    })
    expect(isThere).toBe(false)
    expect(await world.balance()).toBe(0)
    await blocker.query('COMMIT')
    await blocker.end()
    const answer = await answering
    expect([answer.status, await answer.text()]).toEqual([200, '{"ok":true}'])
    expect(answer.headers.get('content-type')).toContain('application/json')
    expect(await world.balance()).toBe(1)
    expect(await lock.messages()).toMatchObject([{ status: 'completed' }])
  })

  test('a transaction that cannot be committed: 503, and the redelivery is handled', async () => {
    const world = await createWorld(database)
    const lock = world.lock()
    let runs = 0
    const url = await framework.start(lock, async (seen) => {
      const tx = seen.lock?.leases[0]?.tx
      await tx?.query(world.add)
      runs += 1
      if (runs === 1) await tx?.query('ROLLBACK')
      return { status: 200, body: 'ok' }
    })
    const failed = await post(url, whatsapp('ada'))
    expect([failed.status, failed.headers.get('session-lock')]).toEqual([503, 'not-committed'])
    expect(failed.headers.get('retry-after')).toBe('1')
    expect(await world.balance()).toBe(0)
    expect((await post(url, whatsapp('ada'))).status).toBe(200)
    expect((await post(url, whatsapp('ada'))).headers.get('session-lock')).toBe('duplicate')
    expect([runs, await world.balance()]).toEqual([2, 1])
  })
})
