/** How a lock ends, and what it means for the process that it lives in. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { gate } from '../http/bot.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'

const SETTINGS = { tablePrefix: 'session_lock_', timeoutMs: 1000 }

test('close refuses who waits, lets the handler finish, and keeps a store that is not its own', async () => {
  const store = memoryStore(SETTINGS)
  const lock = createSessionLock({ store, logger: false })
  const [started, end] = [gate(), gate()]
  const running = lock.run({ messageId: 'm1', prospect: 'p' }, async () => {
    started.pass()
    await end.passed
    return 'done'
  })
  await started.passed
  const waiting = lock.run({ messageId: 'm2', prospect: 'p' }, () => 1)
  const refused = expect(waiting).rejects.toMatchObject({ code: 'CLOSED' })
  const closing = lock.close()
  await refused
  await expect(lock.run({ messageId: 'm3' }, () => 1)).rejects.toMatchObject({ code: 'CLOSED' })
  end.pass()
  expect(await running).toMatchObject({ status: 'processed', value: 'done' })
  await closing
  expect(await store.messages({ limit: 10 })).toMatchObject([{ messageId: 'm1', status: 'completed' }])
})

test('close does not wait for a handler for ever', async () => {
  const lock = createSessionLock({ store: memoryStore(SETTINGS), logger: false, closeTimeoutMs: 50 })
  const [started, end] = [gate(), gate()]
  void lock.run({ messageId: 'm1' }, () => {
    started.pass()
    return end.passed
  })
  await started.passed
  await lock.close()
  end.pass()
})

test('a claim that the store is answering when the lock closes is handled to its end', async () => {
  const store = memoryStore(SETTINGS)
  const [asked, answer] = [gate(), gate()]
  const slow: Store = Object.assign(Object.create(store), {
    async claim(claims: Parameters<Store['claim']>[0]) {
      const verdicts = await store.claim(claims)
      asked.pass()
      await answer.passed
      return verdicts
    },
  })
  const lock = createSessionLock({ store: slow, logger: false })
  const running = lock.run({ messageId: 'm1', prospect: 'p' }, () => 'done')
  await asked.passed
  let isClosed = false
  const closing = lock.close().then(() => {
    isClosed = true
  })
  await new Promise(setImmediate)
  expect(isClosed).toBe(false)
  answer.pass()
  expect(await running).toMatchObject({ status: 'processed', value: 'done' })
  await closing
  expect(await store.sessions({ limit: 10 })).toEqual([])
  expect(await store.messages({ limit: 10 })).toMatchObject([{ messageId: 'm1', status: 'completed' }])
})

/** Runs a script of somebody who has nothing else to do, so that only what the lock does keeps the process alive. */
async function runScript(code: string): Promise<string> {
  const args = ['--input-type=module', '--eval', `import { createSessionLock } from 'session-lock'\n${code}`]
  return (await promisify(execFile)(process.execPath, args, { cwd: join(import.meta.dirname, '../..') })).stdout
}

test('a process does not end under somebody who waits for a session', async () => {
  const store = `sqlite:${join(makeTemporaryDirectory('wait'), 'bot.db')}`
  const other = createSessionLock({ store, logger: false })
  const [started, end] = [gate(), gate()]
  const running = other.run({ session: 'report' }, () => {
    started.pass()
    return end.passed
  })
  await started.passed
  const waited = await runScript(`
    const lock = createSessionLock({ store: ${JSON.stringify(store)}, logger: false, lockWaitMs: 300 })
    console.log((await lock.run({ session: 'report' }, () => 1)).status)
    await lock.close()`)
  end.pass()
  await running
  await other.close()
  expect(waited).toBe('busy\n')
})

test('a process stays until its lock is closed, and no longer', async () => {
  const closed = await runScript(`
    const lock = createSessionLock({ store: 'memory:', logger: false, closeTimeoutMs: 200 })
    await new Promise((started) => void lock.run({ messageId: 'm1' }, () => new Promise(started)))
    await lock.close()
    const other = createSessionLock({ store: 'memory:', logger: false, closeTimeoutMs: 3_600_000 })
    await other.run({ messageId: 'm1' }, () => 1)
    await other.close()
    console.log('closed')`)
  expect(closed).toBe('closed\n')
})
