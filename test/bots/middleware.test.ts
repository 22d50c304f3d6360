/** The middleware with the real frameworks in one process: locks shared, mounted twice, typed, down. */
import { App, type Receiver } from '@slack/bolt'
import { Bot } from 'grammy'
import { Telegraf } from 'telegraf'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { sessionLock as boltLock, RefusedError } from '../../src/bots/bolt.ts'
import { sessionLock as grammyLock } from '../../src/bots/grammy.ts'
import { sessionLock as telegrafLock } from '../../src/bots/telegraf.ts'
import { createSessionLock, OptionsError, type SessionLockOptions, StoreError } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  process.exitCode = undefined
})

const botInfo = { id: 4711, is_bot: true as const, first_name: 'Bot', username: 'test_bot' }

function lockOver(options: SessionLockOptions = {}) {
  const lock = createSessionLock({ store: 'memory:', logger: false, ...options })
  onTestFinished(() => lock.close())
  return lock
}

function grammyBot() {
  // Its many abilities are asked for by its type, and of no use here.
  return new Bot('4711:token', { botInfo: botInfo as never })
}

function update(id: number, chat = 7) {
  const from = { id: chat, is_bot: false, first_name: 'Ada' }
  return {
    update_id: id,
    message: { message_id: id, date: 1, chat: { ...from, type: 'private' as const }, from, text: 'hi' },
  }
}

/** A Bolt app whose deliveries come from here. */
function boltApp() {
  const receiver: Receiver = { init: () => undefined, start: async () => undefined, stop: async () => undefined }
  const app = new App({ receiver, authorize: async () => ({ botToken: 'xoxb-token', botId: 'B1', botUserId: 'UBOT' }) })
  app.error(async (error) => {
    throw error
  })
  return app
}

test('bots on two frameworks that share a lock act once between them', async () => {
  const lock = lockOver()
  const acted: string[] = []
  const one = grammyBot()
  one.use(grammyLock(lock))
  one.on('message', () => void acted.push('grammY'))
  const two = new Telegraf('4711:token')
  two.botInfo = botInfo as never
  two.use(telegrafLock(lock))
  two.on('message', () => void acted.push('Telegraf'))
  await one.handleUpdate(update(1))
  await two.handleUpdate(update(1) as never)
  expect(acted).toEqual(['grammY'])
  expect(await lock.messages()).toMatchObject([
    { provider: 'telegram', device: '4711', messageId: '1', status: 'completed' },
  ])
})

test('the lock stands on the middleware, and a wrong option throws at start', async () => {
  const lock = lockOver()
  expect([grammyLock(lock).lock, telegrafLock(lock).lock, boltLock(lock).lock]).toEqual([lock, lock, lock])
  for (const sessionLock of [grammyLock, telegrafLock, boltLock]) {
    expect(() => sessionLock({ lockWaitMs: -1 })).toThrow(OptionsError)
    const { lock: own } = sessionLock({ logger: false })
    expect(own).not.toBe(lock)
    await own.close()
  }
})

test('without arguments all of them share one lock, over SESSION_LOCK_URL', async () => {
  vi.stubEnv('SESSION_LOCK_URL', 'memory:')
  const { lock } = grammyLock()
  expect(lock.options.store).toBe('memory:')
  expect(telegrafLock().lock).toBe(lock)
  expect(boltLock().lock).toBe(lock)
  await lock.close()
})

test('mounted twice, the second lets pass what the first has claimed', async () => {
  const lock = lockOver()
  const bot = grammyBot()
  let acted = 0
  bot.use(grammyLock(lock), grammyLock(lock))
  bot.use(() => {
    acted += 1
  })
  await bot.handleUpdate(update(1))
  await bot.handleUpdate(update(1))
  expect(acted).toBe(1)
})

test('what the handler throws comes through as it was, and the update is marked failed', async () => {
  const lock = lockOver()
  const bot = grammyBot()
  bot.use(grammyLock(lock))
  const error = new Error('no')
  bot.use(() => Promise.reject(error))
  await expect(bot.handleUpdate(update(1))).rejects.toMatchObject({ error })
  expect(await lock.messages()).toMatchObject([{ messageId: '1', status: 'failed', lastError: 'no' }])
})

test('a refusal says why, and when to come again', async () => {
  const lock = lockOver({ lockWaitMs: 0 })
  const bot = grammyBot()
  bot.use(grammyLock(lock))
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  bot.use(() => ended)
  const first = bot.handleUpdate(update(1))
  const again = await bot.handleUpdate(update(1)).catch(({ error }: { error: unknown }) => error)
  expect(again).toBeInstanceOf(RefusedError)
  expect(again).toMatchObject({ code: 'IN_FLIGHT', status: 409 })
  await expect(bot.handleUpdate(update(2))).rejects.toMatchObject({ error: { code: 'BUSY', status: 503 } })
  end()
  await first
})

test('while the store is down nothing is handled, and the error says so', async () => {
  const store = memoryStore({ tablePrefix: 'session_lock_', timeoutMs: 1000 })
  const down = Object.assign(Object.create(store) as typeof store, {
    claim: () => Promise.reject(new StoreError('unreachable', 'the store is down')),
  })
  const bot = grammyBot()
  let acted = 0
  bot.use(grammyLock(lockOver({ store: down })))
  bot.use(() => {
    acted += 1
  })
  await expect(bot.handleUpdate(update(1))).rejects.toMatchObject({ error: { kind: 'unreachable' } })
  expect(acted).toBe(0)
})

test('Bolt: a thread is one conversation, whoever writes in it; two threads are two', async () => {
  const app = boltApp()
  app.use(boltLock(lockOver({ lockWaitMs: 0 }), { processBeforeResponse: true }))
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  app.event('app_mention', () => ended)
  const mention = (id: string, user: string, ts: string, thread_ts?: string) =>
    app.processEvent({
      ack: async () => undefined,
      body: { team_id: 'T1', event_id: id, event: { type: 'app_mention', channel: 'C1', user, ts, thread_ts } },
    })
  const first = mention('Ev1', 'U1', '1.1')
  await expect(mention('Ev2', 'U2', '1.2', '1.1')).rejects.toMatchObject({ code: 'BUSY' })
  await expect(mention('Ev3', 'U1', '1.3', '0.9')).rejects.toMatchObject({ code: 'BUSY' })
  const other = mention('Ev4', 'U2', '1.4', '0.9')
  end()
  await Promise.all([first, other])
})

test('Bolt: a menu that asks for its options is never kept waiting', async () => {
  const lock = lockOver()
  const app = boltApp()
  app.use(boltLock(lock))
  app.options('menu', async ({ ack }) => ack({ options: [] }))
  const answers: unknown[] = []
  const ask = () =>
    app.processEvent({
      ack: async (answer) => void answers.push(answer),
      body: { type: 'block_suggestion', action_id: 'menu', team: { id: 'T1' }, user: { id: 'U1' }, value: 'a' },
    })
  await Promise.all([ask(), ask()])
  expect(answers).toEqual([{ options: [] }, { options: [] }])
  expect(await lock.messages()).toEqual([])
})
