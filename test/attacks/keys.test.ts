/** Keys that are made to collide, to break out of a statement, or to look like another's: on every store, through the whole lock. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { pino } from 'pino'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { createSessionLock, OptionsError, type SessionLock } from '../../src/index.ts'
import { sharedStores } from '../stores/shared-stores.ts'
import { HARMFUL } from './harmful.ts'

const MOST_BYTES = 512
/** Those that are let in; longer ones are refused, as the decision table says. */
const ALLOWED = HARMFUL.filter((text) => Buffer.byteLength(text) <= MOST_BYTES)
const TOO_LONG = HARMFUL.filter((text) => Buffer.byteLength(text) > MOST_BYTES)

/** Two names each that a careless composition makes one of. */
const SPLITS = [
  [
    { device: 'a:1', prospect: 'b' },
    { device: 'a', prospect: '1:b' },
  ],
  [
    { device: '', prospect: 'ab' },
    { device: 'a', prospect: 'b' },
  ],
  [
    { device: '3:bot', prospect: 'p' },
    { device: '3', prospect: 'bot1:p' },
  ],
] as const

describe.each(sharedStores)('$name', ({ url, forget }) => {
  const prefixes = new Set<string>()
  afterAll(() => forget(prefixes))

  function openLock(options: object = {}): SessionLock {
    const tablePrefix = `a${randomBytes(5).toString('hex')}_`
    prefixes.add(tablePrefix)
    const lock = createSessionLock({ store: url(), tablePrefix, logger: false, ...options })
    onTestFinished(() => lock.close())
    return lock
  }

  test('each harmful id is one message, and each harmful name one session', async () => {
    const lock = openLock()
    for (const text of ALLOWED) {
      const key = { messageId: text, device: text, prospect: text, provider: 'attack' }
      const first = await lock.run(key, () => 'handled')
      expect(first, JSON.stringify(text)).toMatchObject({ status: 'processed' })
    }
    for (const text of ALLOWED) {
      const key = { messageId: text, device: text, prospect: text, provider: 'attack' }
      const second = await lock.run(key, () => 'handled')
      expect(second, JSON.stringify(text)).toMatchObject({ status: 'duplicate', of: 'completed' })
    }
    expect((await lock.stats()).messages.completed).toBe(ALLOWED.length)
    expect(await lock.sessions()).toEqual([])
  })

  test('names that run together are different sessions', async () => {
    const lock = openLock()
    for (const [one, other] of SPLITS) {
      const nested = await lock.run(one, () => lock.run(other, () => 'free', { lockWaitMs: 0 }), { lockWaitMs: 0 })
      expect(nested).toMatchObject({ status: 'processed', value: { status: 'processed', value: 'free' } })
    }
  })

  test('what is too long is refused, not cut', async () => {
    const lock = openLock()
    for (const text of TOO_LONG) {
      await expect(lock.run({ messageId: text }, () => 0)).rejects.toMatchObject({ name: 'KeyError' })
      await expect(lock.run({ prospect: text }, () => 0)).rejects.toMatchObject({ name: 'KeyError' })
    }
  })

  test('a prefix cannot break out of a statement', () => {
    for (const tablePrefix of ["x'; DROP TABLE users; --", 'x`', 'x"', 'x.y', '{x}', 'x\n']) {
      const open = () => createSessionLock({ store: url(), tablePrefix, logger: false })
      expect(open, tablePrefix).toThrow(OptionsError)
    }
  })

  test('no log line holds a second one, a key from a terminal, or the password', async () => {
    const lines: string[] = []
    const logger = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })
    const lock = openLock({ logger })
    for (const text of ALLOWED) {
      const failing = lock.run({ messageId: text, prospect: text }, () => Promise.reject(new Error(text)))
      await failing.catch(() => undefined)
    }
    expect(lines.length).toBeGreaterThan(ALLOWED.length)
    const { password } = new URL(url().replace(/^sqlite:/, 'file:'))
    for (const line of lines) {
      expect(line.endsWith('}\n')).toBe(true)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(line.slice(0, -1)).not.toMatch(/[\u0000-\u001f\u007f]/)
      if (password.length > 3) expect(line).not.toContain(decodeURIComponent(password))
    }
  })
})

test('the password of a store that cannot be reached stands in no error', async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  for (const scheme of ['mysql', 'postgres', 'redis']) {
    const lock = createSessionLock({ store: `${scheme}://bot:s3cret-w0rd@127.0.0.1:${port}/bot`, logger: false })
    const error: unknown = await lock.run({ messageId: 'm' }, () => 0).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(Error)
    const told = `${(error as Error).message} ${(error as Error).stack} ${JSON.stringify(error)}`
    expect(told).not.toContain('s3cret-w0rd')
    await lock.close()
  }
}, 60_000)
