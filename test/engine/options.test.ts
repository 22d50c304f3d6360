/** Wrong options fail at start and name the option. */
import { afterEach, expect, test, vi } from 'vitest'
import { resolveOptions } from '../../src/engine/options.ts'
import { createSessionLock, OptionsError, sessionLock } from '../../src/index.ts'

afterEach(() => {
  vi.unstubAllEnvs()
})

const wrong: Array<[string, Record<string, unknown>]> = [
  ['lockWaitMS', { lockWaitMS: 1 }],
  ['lockWaitMs', { lockWaitMs: -1 }],
  ['lockWaitMs', { lockWaitMs: '2000' }],
  ['staleAfterMs', { staleAfterMs: 0 }],
  ['maxHoldMs', { staleAfterMs: 60_000, maxHoldMs: 30_000 }],
  ['store', { store: 'oracle://x' }],
  ['store', { store: 7 }],
  ['secret', { secret: '' }],
  ['secret', { secret: [] }],
  ['scope', { scope: 'all' }],
  ['strategy', { strategy: 'lock' }],
  ['tablePrefix', { tablePrefix: 'x; drop' }],
  ['onStoreError', { onStoreError: 'ignore' }],
  ['logger', { logger: true }],
  ['isSuccess', { isSuccess: 200 }],
  ['key', { key: 'id' }],
]

test.each(wrong)('%s: %j', (option, options) => {
  const make = () => createSessionLock(options)
  expect(make).toThrow(OptionsError)
  expect(make).toThrow(new RegExp(`"${option}"`))
})

test('no error text holds a secret or a password', () => {
  const make = () => createSessionLock({ store: 'oracle://user:hunter2@host/db', secret: 'hunter3' })
  expect(make).toThrow(/store/)
  expect(make).not.toThrow(/hunter/)
})

test('undefined means unset, and the environment names the store and the node', () => {
  vi.stubEnv('SESSION_LOCK_URL', 'sqlite:./bot.db')
  vi.stubEnv('NODE_ID', 'node-7')
  const options = resolveOptions({ lockWaitMs: undefined, store: undefined })
  expect(options).toMatchObject({ lockWaitMs: 2000, staleAfterMs: 30_000, store: 'sqlite:./bot.db', nodeId: 'node-7' })
})

test('no call of the store may outlast a sixth of staleAfterMs, unless asked for', () => {
  expect(resolveOptions({ staleAfterMs: 1200 }).storeTimeoutMs).toBe(200)
  expect(resolveOptions({}).storeTimeoutMs).toBe(5000)
})

test('what is neither a lock nor options is refused by its name', () => {
  for (const given of [null, 'mysql://localhost/bot', 7])
    expect(() => sessionLock(given as never)).toThrow(OptionsError)
})

test('what is unknown or impossible in a call is refused by name, and changes nothing', async () => {
  const lock = createSessionLock({ store: 'memory:', logger: false })
  const key = { messageId: 'm1' }
  let runs = 0
  const work = () => (runs += 1)
  const calls: Array<[string, () => Promise<unknown>]> = [
    ['stael', () => lock.sessions({ stael: true } as never)],
    ['stale', () => lock.sessions({ stale: 'yes' } as never)],
    ['heldForMs', () => lock.sessions({ heldForMs: '5m' } as never)],
    ['filter', () => lock.sessions('15550002222' as never)],
    ['status', () => lock.messages({ status: 'x' as never })],
    ['since', () => lock.messages({ since: new Date() as never })],
    ['limit', () => lock.messages({ limit: Number.NaN })],
    ['lockwait', () => lock.run(key, work, { lockwait: 1 } as never)],
    ['lockWaitMs', () => lock.run(key, work, { lockWaitMs: -1 })],
    ['signal', () => lock.run(key, work, { signal: new AbortController() as never })],
    ['work', () => lock.run(key, undefined as never)],
    ['take-over', async () => lock.on('take-over' as never, () => undefined)],
    ['take-over', async () => lock.off('take-over' as never, () => undefined)],
  ]
  for (const [option, call] of calls) {
    const called = call()
    await expect(called, option).rejects.toBeInstanceOf(OptionsError)
    await expect(called, option).rejects.toMatchObject({ option })
  }
  await expect(lock.messages({ status: 'x' as never })).rejects.toThrow('takes "queued" or "processing"')
  expect(() => lock.on('take-over' as never, () => undefined)).toThrow(/is no event; there are: acquired, .*takeover/)
  expect(runs).toBe(0)
  expect(await lock.run(key, work, { lockWaitMs: undefined, signal: AbortSignal.timeout(60_000) })).toMatchObject({
    status: 'processed',
  })
  expect(await lock.sessions({})).toEqual([])
  await lock.close()
})
