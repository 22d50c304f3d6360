/** What the DuckDB example relies on: a file that is closed really is, whatever became of the work in it. */
import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { makeTemporaryDirectory } from '../processes/guard.ts'

const { openFile, workIn, holderNamedIn } = await import(
  new URL('../../examples/duckdb-app/duckdb-file.mjs', import.meta.url).href
)
const LONG = 'SELECT sum(a.range * b.range) FROM range(1000000) a, range(1000000) b'

interface Transaction {
  query(sql: string): Promise<Record<string, unknown>[]>
}

/** A file with one table, and what can be done with it. */
async function makeFile() {
  const path = join(makeTemporaryDirectory('duckdb'), 'app.duckdb')
  async function run(work: (transaction: Transaction) => unknown, signal?: AbortSignal): Promise<unknown> {
    const instance = await openFile(path)
    try {
      return await workIn(instance, work, signal)
    } finally {
      instance.closeSync()
    }
  }
  await run(({ query }) => query('CREATE TABLE rows (id INTEGER)'))
  const count = () => run(({ query }) => query('SELECT count(*)::INTEGER AS count FROM rows'))
  return { path, run, count }
}

const openHere = (path: string) =>
  readdirSync('/proc/self/fd').filter((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).startsWith(path)
    } catch {
      return false
    }
  })

test('commits what has returned, rolls back what has thrown, and has the file closed after both', async () => {
  const { path, run, count } = await makeFile()
  await run(({ query }) => query('INSERT INTO rows VALUES (1)'))
  expect(openHere(path)).toEqual([])
  const failing = run(async ({ query }) => {
    await query('INSERT INTO rows VALUES (2)')
    throw new Error('no more')
  })
  await expect(failing).rejects.toThrow('no more')
  expect(openHere(path)).toEqual([])
  expect(await count()).toEqual([{ count: 1 }])
})

test('an aborted signal interrupts a statement, and what it did is rolled back', async () => {
  const { path, run, count } = await makeFile()
  const controller = new AbortController()
  const working = run(async ({ query }) => {
    await query('INSERT INTO rows VALUES (1)')
    process.nextTick(() => controller.abort(new Error('the lease is lost')))
    await query(LONG)
  }, controller.signal)
  await expect(working).rejects.toThrow('the lease is lost')
  expect(openHere(path)).toEqual([])
  expect(await count()).toEqual([{ count: 0 }])
})

test('waits for a statement that nobody waits for, and takes no other, before it closes the file', async () => {
  const { path, run, count } = await makeFile()
  let leftAlone: Promise<unknown> | undefined
  const failing = run(({ query }) => {
    leftAlone = query('INSERT INTO rows SELECT range FROM range(2000000)').then(() => query(LONG))
    leftAlone.catch(() => {})
    throw new Error('no more')
  })
  await expect(failing).rejects.toThrow('no more')
  expect(openHere(path)).toEqual([])
  await expect(leftAlone).rejects.toThrow('The transaction is over')
  expect(await count()).toEqual([{ count: 0 }])
})

test('reads the process out of a refusal', () => {
  const text = 'Conflicting lock is held in /usr/bin/node (PID 4711). See also'
  expect([holderNamedIn(text), holderNamedIn('some other trouble')]).toEqual([4711, undefined])
})
