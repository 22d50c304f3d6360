/** A batch that the database refuses for one operation's data refuses that one alone. */
import { createConnection } from 'mysql2/promise'
import { expect, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { mysqlUrl } from './world.ts'

test('of many claims and settlements written together, only the refused ones fail', async () => {
  const tablePrefix = `refused_${process.pid}_`
  const connection = await createConnection(mysqlUrl())
  const lock = createSessionLock({ store: mysqlUrl(), tablePrefix, logger: false })
  try {
    await lock.ready()
    const refuse = (table: string, column: string, value: string) =>
      connection.query(`CREATE TRIGGER ${tablePrefix}${value} BEFORE INSERT ON ${tablePrefix}${table} FOR EACH ROW
        IF NEW.${column} = '${value}' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused'; END IF`)
    await refuse('sessions', 'id_prospect', 'cursed')
    await refuse('messages', 'message_id', 'unwritable')
    const keys = Array.from({ length: 40 }, (_, index) => ({ messageId: `m${index}`, prospect: `p${index}` }))
    const ran: string[] = []
    const results = await Promise.allSettled(
      [...keys, { messageId: 'x', prospect: 'cursed' }, { messageId: 'unwritable', prospect: 'y' }].map((key) =>
        lock.run(key, () => ran.push(key.messageId)),
      ),
    )
    expect(results.slice(0, 40).map((result) => result.status)).toEqual(keys.map(() => 'fulfilled'))
    expect(results[40]).toMatchObject({ status: 'rejected', reason: { kind: 'data' } })
    // Its handler ran, and a settlement that fails never replaces the handler's result.
    expect(results[41]).toMatchObject({ status: 'fulfilled', value: { status: 'processed' } })
    expect(ran).toContain('unwritable')
    expect(ran).not.toContain('x')
    expect(await lock.messages({ status: 'completed' })).toHaveLength(40)
    // What cannot be written frees its session all the same.
    await expect.poll(() => lock.sessions()).toEqual([])
  } finally {
    await lock.close()
    await connection.query(`DROP TABLE ${tablePrefix}sessions, ${tablePrefix}messages, ${tablePrefix}migrations`)
    await connection.end()
  }
})
