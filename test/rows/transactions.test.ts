/** Rows with the strategy `transaction`: what their handler writes is there with them, or not at all. */
import { describe, expect, test } from 'vitest'
import { createRowClaims } from '../../src/rows/rows.ts'
import { createWorld, databases } from '../transaction/world.ts'

describe.each(databases)('$name', (database) => {
  test('a handler that throws leaves nothing behind; one that ends well is committed', async () => {
    const world = await createWorld(database)
    let isWrong = true
    const rows = createRowClaims({
      lock: world.lock(),
      name: 'rows',
      read: (id: number) => ({ id }),
      async handle(_row, { tx }) {
        await tx?.query(world.add)
        if (isWrong) throw new Error('after the write')
      },
    })
    expect(await rows.next(() => [1])).toMatchObject([
      { id: 1, status: 'failed', error: { message: 'after the write' } },
    ])
    expect(await world.balance()).toBe(0)
    isWrong = false
    expect(await rows.next(() => [1])).toMatchObject([{ id: 1, status: 'processed' }])
    expect(await world.balance()).toBe(1)
  })

  test('a handler that ends the transaction itself has failed', async () => {
    const world = await createWorld(database)
    const rows = createRowClaims({
      lock: world.lock(),
      name: 'rows',
      read: (id: number) => ({ id }),
      handle: async (_row, { tx }) => void (await tx?.query('ROLLBACK')),
    })
    expect(await rows.one(1)).toMatchObject({ status: 'failed', error: { name: 'TransactionEndedError' } })
  })
})
