/** Where there are more rows than are looked through, "nothing" is said with that. */
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openStore } from '../../src/store/open.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { redisUrl, removeKeys } from '../stores/redis-keys.ts'
import { acquire, claimOf, settlementOf } from '../stores/store-items.ts'
import { sessionLock } from './program.ts'

const TABLE_PREFIX = 'cli_unseen_'
const SETTINGS = { tablePrefix: TABLE_PREFIX, timeoutMs: 30_000 }
const LONG_MS = 600_000
/** One more than are looked through. */
const MANY = Array.from({ length: 10_001 }, (_, number) => `n${number}`)

const directory = makeTemporaryDirectory('unseen')
const file = `sqlite:${join(directory, 'bot.db')}`
const forgetKeys = () => removeKeys(new Set([TABLE_PREFIX]))

beforeAll(forgetKeys)
afterAll(() => Promise.all([removeTemporaryDirectory(directory), forgetKeys()]))

const say = (url: string, ...words: string[]) => sessionLock([...words, '--store', url, '--table-prefix', TABLE_PREFIX])

test('of sessions', async () => {
  const { store } = await openStore(file, SETTINGS)
  await store.migrate()
  await store.claim(MANY.map((name) => claimOf(name, name, name, { staleAfterMs: LONG_MS })))
  await store.close()
  const unseen = /^only the 10000 longest held sessions were looked through; there are more\n$/
  for (const words of [
    ['sessions', '--prospect', 'nobody'],
    ['messages', '--session', 'nobody'],
    ['show', 'nobody'],
    ['release', 'nobody'],
  ]) {
    expect((await say(file, ...words)).stderr, words.join(' ')).toMatch(unseen)
  }
  for (const words of [['sessions'], ['sessions', '--stale', '--node', 'node-2'], ['sessions', '--older-than', '1h']]) {
    expect((await say(file, ...words)).stderr, words.join(' ')).toBe('')
  }
})

test('of messages, on Redis', async () => {
  const { store } = await openStore(redisUrl(), SETTINGS)
  await store.migrate()
  const token = await acquire(store, claimOf('o', 's', 'm', { staleAfterMs: LONG_MS }))
  const settlement = settlementOf('o', 's', 'm', token, { retentionMs: LONG_MS })
  const messages = MANY.map((key) => ({ key, home: 's', provider: 'p', device: 'd', id: key }))
  await store.settle([{ ...settlement, messages }])
  await store.close()
  const unseen = 'only the latest 10000 messages were looked through; there are more\n'
  for (const words of [
    ['messages', '--session', 'nobody'],
    ['show', 'nobody'],
  ]) {
    expect((await say(redisUrl(), ...words)).stderr).toBe(unseen)
  }
  expect((await say(redisUrl(), 'messages')).stderr).toBe('')
})
