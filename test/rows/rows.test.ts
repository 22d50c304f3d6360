/** Rows of a table of one's own: nobody handles one beside somebody else, and none is handled when it is done. */
import { randomBytes } from 'node:crypto'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { createSessionLock, OptionsError, type SessionLockOptions, StoreError } from '../../src/index.ts'
import { createRowClaims, type FindRows, type RowClaims } from '../../src/rows/rows.ts'
import { gate } from '../http/bot.ts'
import { sharedStores } from '../stores/shared-stores.ts'

interface Row {
  readonly id: number
  isDone: boolean
}

/** The user's table. */
function createTable(count: number) {
  const rows = new Map(
    Array.from({ length: count }, (_, index): [number, Row] => [index + 1, { id: index + 1, isDone: false }]),
  )
  const find: FindRows<number> = ({ limit, after = 0 }) =>
    [...rows.values()].flatMap(({ id, isDone }) => (!isDone && id > after ? [id] : [])).slice(0, limit)
  const read = (id: number) => (rows.get(id)?.isDone ? undefined : rows.get(id))
  return { rows, find, read }
}

describe.each(sharedStores)('$name', ({ url, forget }) => {
  const prefixes = new Set<string>()
  afterAll(() => forget(prefixes))

  /** Makes nodes of one bot: locks of their own on the same tables. */
  function createNodes() {
    const tablePrefix = `r${randomBytes(5).toString('hex')}_`
    prefixes.add(tablePrefix)
    return (options: SessionLockOptions = {}) => {
      const lock = createSessionLock({ store: url(), tablePrefix, logger: false, closeTimeoutMs: 0, ...options })
      onTestFinished(() => lock.close())
      return lock
    }
  }

  test('three nodes take rows at once: each row is handled once, and never by two', async () => {
    const { rows, find, read } = createTable(30)
    const openLock = createNodes()
    const inHand = new Set<number>()
    const handled: number[] = []
    const nodes = [1, 2, 3].map(() =>
      createRowClaims({
        lock: openLock(),
        name: 'rows',
        read,
        async handle(row) {
          expect(inHand.has(row.id)).toBe(false)
          inHand.add(row.id)
          await new Promise(setImmediate)
          row.isDone = true
          handled.push(row.id)
          inHand.delete(row.id)
        },
      }),
    )
    const work = async (node: RowClaims<void, number>) => {
      while ([...rows.values()].some(({ isDone }) => !isDone)) await node.next(find, { limit: 4 })
    }
    await Promise.all(nodes.map(work))
    expect(handled.sort((one, other) => one - other)).toEqual([...rows.keys()])
  })

  test('rows in other hands are skipped, and those that were done meanwhile', async () => {
    const { rows, find, read } = createTable(9)
    const openLock = createNodes()
    const { passed, pass } = gate()
    const begun: number[] = []
    const slow = createRowClaims({
      lock: openLock(),
      name: 'rows',
      read,
      async handle({ id }) {
        begun.push(id)
        await passed
      },
    })
    const held = slow.next(find, { limit: 3 })
    await expect.poll(() => begun.length).toBe(3)
    const quick = createRowClaims({ lock: openLock(), name: 'rows', read, handle: ({ id }) => `did ${id}` })
    const fourth = rows.get(4) as Row
    // It is found, and done by the time it is claimed.
    const findThenDo: FindRows<number> = (page) => {
      const found = find(page)
      fourth.isDone = true
      return found
    }
    expect(await quick.next(findThenDo, { limit: 2 })).toEqual([
      { id: 5, status: 'processed', value: 'did 5', takeover: false },
      { id: 6, status: 'processed', value: 'did 6', takeover: false },
    ])
    // A search that begins anew each time ends all the same.
    expect(await quick.next(() => [1, 2, 3], { limit: 3 })).toEqual([])
    expect(await quick.one(1, { lockWaitMs: 0 })).toMatchObject({ id: 1, status: 'busy' })
    expect(await quick.one(4)).toEqual({ id: 4, status: 'unwanted' })
    expect((await quick.held({ stale: false })).map(({ id }) => id).sort()).toEqual(['1', '2', '3'])
    expect(await quick.held({ stale: true })).toEqual([])
    // What lives is not released.
    expect(await quick.releaseStale()).toEqual([])
    expect((await quick.next(find, { limit: 100 })).map(({ id }) => id)).toEqual([5, 6, 7, 8, 9])
    const waited = quick.one(1, { lockWaitMs: 10_000 })
    pass()
    expect(await waited).toMatchObject({ id: 1, status: 'processed' })
    expect((await held).map(({ id }) => id)).toEqual([1, 2, 3])
  })

  test('what fails is told with its error, stops no other row, and can be had again', async () => {
    const { find, read } = createTable(3)
    const problem = new Error('the model is overloaded')
    let isOverloaded = true
    const node = createRowClaims({
      lock: createNodes()(),
      name: 'rows',
      read,
      handle({ id }) {
        if (id === 2 && isOverloaded) throw problem
        return id
      },
    })
    expect(await node.next(find, { limit: 3 })).toEqual([
      { id: 1, status: 'processed', value: 1, takeover: false },
      { id: 2, status: 'failed', error: problem },
      { id: 3, status: 'processed', value: 3, takeover: false },
    ])
    isOverloaded = false
    expect(await node.one(2)).toMatchObject({ status: 'processed' })
  })

  test('a row whose holder hangs is taken over when its lease is stale, with a larger token', async () => {
    const { find, read } = createTable(1)
    const openLock = createNodes()
    const tokens: number[] = []
    const { passed, pass } = gate()
    const hung = createRowClaims({
      lock: openLock({ staleAfterMs: 3000, renew: false }),
      name: 'rows',
      read,
      async handle(_row, { fencingToken }) {
        tokens.push(fencingToken)
        await passed
      },
    })
    const holding = hung.next(find)
    await expect.poll(() => tokens.length).toBe(1)
    const other = createRowClaims({
      lock: openLock(),
      name: 'rows',
      read,
      handle: (_row, { fencingToken }) => void tokens.push(fencingToken),
    })
    await expect.poll(() => other.releaseStale()).toMatchObject([{ id: '1', fencingToken: tokens[0] }])
    expect(await other.next(find)).toMatchObject([{ id: 1, status: 'processed', takeover: true }])
    const [first = 0, second = 0] = tokens
    expect(second).toBeGreaterThan(first)
    pass()
    expect(await holding).toMatchObject([{ id: 1, status: 'failed', error: { code: 'LEASE_LOST' } }])
  })
})

test('what is wrong with a search or with the store is thrown', async () => {
  const closed = createSessionLock({ store: 'memory:', logger: false })
  await closed.close()
  const node = createRowClaims({ lock: closed, name: 'rows', read: () => 1, handle: () => 2 })
  await expect(node.one(1)).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(node.next(() => [1])).rejects.toMatchObject({ code: 'CLOSED' })
  await expect(node.next(() => Promise.reject(new Error('no such table')))).rejects.toThrow('no such table')
  const unreachable = createSessionLock({ store: 'redis://127.0.0.1:1', logger: false })
  onTestFinished(() => unreachable.close())
  const lost = createRowClaims({ lock: unreachable, name: 'rows', read: () => 1, handle: () => 2 })
  await expect(lost.next(() => [1, 2])).rejects.toBeInstanceOf(StoreError)
})

test('rows in place of their ids are refused, before any is handled', async () => {
  const lock = createSessionLock({ store: 'memory:', logger: false })
  onTestFinished(() => lock.close())
  const { rows, read } = createTable(3)
  const handled: unknown[] = []
  const node = createRowClaims({ lock, name: 'rows', read, handle: ({ id }) => handled.push(id) })
  for (const wrong of [[...rows.values()], [1, undefined, 3]]) {
    const found = node.next(() => wrong as never, { limit: 3 })
    await expect(found).rejects.toThrow(/option "find" gives ids/)
    await expect(found).rejects.toBeInstanceOf(OptionsError)
  }
  await expect(node.one({ id: 1 } as never)).rejects.toThrow(/option "id" takes/)
  expect(handled).toEqual([])
})

test('wrong options are refused by name', async () => {
  const lock = createSessionLock({ store: 'memory:', logger: false })
  onTestFinished(() => lock.close())
  const right = { lock, name: 'rows', read: () => 1, handle: () => 2 }
  for (const name of ['lock', 'name', 'read', 'handle']) {
    expect(() => createRowClaims({ ...right, [name]: undefined })).toThrow(new RegExp(`option "${name}" takes`))
  }
  expect(() => createRowClaims({ ...right, name: 'notes:old' })).toThrow(/option "name" takes .* without a colon/)
  expect(() => createRowClaims({ ...right, reed: 1 } as typeof right)).toThrow(
    /option "reed" is unknown; there are: lock/,
  )
  await expect(createRowClaims(right).next(() => [], { limit: 0 })).rejects.toBeInstanceOf(OptionsError)
})
