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
