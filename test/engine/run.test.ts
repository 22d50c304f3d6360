/** `lock.run` and what one process promises: order, re-entry, followers, events. */
import { AsyncResource } from 'node:async_hooks'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { runningNow } from '../../src/engine/running.ts'
import { createSessionLock, KeyError, type SessionLockOptions, StoreError } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { countCalls } from '../stores/counted-store.ts'

const SETTINGS = { tablePrefix: 'session_lock_', timeoutMs: 1000 }

function lockOver(options: SessionLockOptions = {}) {
  const lock = createSessionLock({ store: memoryStore(SETTINGS), logger: false, ...options })
  onTestFinished(() => lock.close())
  return lock
}

/** A handler that runs until it is told to end. */
function gate() {
  let open: (value?: unknown) => void = () => undefined
  let fail: (error: Error) => void = () => undefined
  let enter: () => void = () => undefined
  const entered = new Promise<void>((resolve) => {
    enter = resolve
  })
  const opened = new Promise((resolve, reject) => {
    open = resolve
    fail = reject
  })
  const work = () => {
    enter()
    return opened
  }
  return { work, entered, open, fail }
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 20))

test('a message is processed once, and its value comes back', async () => {
  const lock = lockOver()
  const key = { messageId: 'm1', prospect: '4917', device: 'bot' }
  expect(await lock.run(key, (lease) => lease.messageIds)).toEqual({
    status: 'processed',
    value: ['m1'],
    takeover: false,
  })
  expect(await lock.run(key, () => 'again')).toEqual({ status: 'duplicate', of: 'completed' })
})

test('a message alone, a session alone, a session by name', async () => {
  const lock = lockOver()
  expect((await lock.run({ messageId: 'm1' }, () => 1)).status).toBe('processed')
  expect((await lock.run({ messageId: 'm1' }, () => 1)).status).toBe('duplicate')
  for (const key of [{ prospect: 'p', device: 'd' }, { session: 'nightly' }]) {
    const first = gate()
    const running = lock.run(key, first.work)
    await first.entered
    expect((await lock.run(key, () => 2, { lockWaitMs: 0 })).status).toBe('busy')
    first.open()
    await running
    // A session can be had again and again: it writes no message.
    expect((await lock.run(key, () => 3)).status).toBe('processed')
  }
  expect(await lock.messages()).toHaveLength(1)
  expect(await lock.sessions()).toEqual([])
})

test('a key that names nothing, or wrongly, is refused with the field’s name', async () => {
  const lock = lockOver()
  await expect(lock.run({}, () => 1)).rejects.toThrow(/messageId, or prospect/)
  await expect(lock.run({ messageId: 7 as unknown as string }, () => 1)).rejects.toThrow(KeyError)
  await expect(lock.run({ mesageId: 'x' } as object, () => 1)).rejects.toThrow(/mesageId is unknown/)
})

test('what the work throws comes through, and the message may be handled again', async () => {
  const lock = lockOver()
  const key = { messageId: 'm1' }
  await expect(lock.run(key, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(await lock.messages({ status: 'failed' })).toMatchObject([{ messageId: 'm1', attempts: 1, lastError: 'no' }])
  expect((await lock.run(key, () => 1)).status).toBe('processed')
  expect(await lock.messages()).toMatchObject([{ messageId: 'm1', attempts: 2, status: 'completed', lastError: null }])
})

test('different messages of a session run in order of arrival, one at a time', async () => {
  const lock = lockOver()
  const order: number[] = []
  let running = 0
  await Promise.all(
    Array.from({ length: 200 }, (_, index) =>
      lock.run({ messageId: `m${index}`, prospect: 'p', device: 'd' }, async () => {
        running += 1
        expect(running).toBe(1)
        await Promise.resolve()
        order.push(index)
        running -= 1
      }),
    ),
  )
  expect(order).toEqual(Array.from({ length: 200 }, (_, index) => index))
})

test('when the first of several waiting duplicates fails, the first waiter gets it, and only he', async () => {
  const lock = lockOver()
  const key = { messageId: 'm1', prospect: 'p', device: 'd' }
  const first = gate()
  const failing = lock.run(key, first.work)
  await first.entered
  const waiters = [1, 2, 3].map((waiter) => lock.run(key, () => waiter))
  first.fail(new Error('first failed'))
  await expect(failing).rejects.toThrow('first failed')
  expect(await Promise.all(waiters)).toEqual([
    { status: 'processed', value: 1, takeover: false },
    { status: 'duplicate', of: 'completed' },
    { status: 'duplicate', of: 'completed' },
  ])
})

test('a completed duplicate does not queue behind a long handler of its session', async () => {
  const lock = lockOver({ lockWaitMs: 5000 })
  await lock.run({ messageId: 'done', prospect: 'p', device: 'd' }, () => 1)
  const long = gate()
  const running = lock.run({ messageId: 'long', prospect: 'p', device: 'd' }, long.work)
  await long.entered
  expect(await lock.run({ messageId: 'done', prospect: 'p', device: 'd' }, () => 2)).toMatchObject({ of: 'completed' })
  long.open()
  await running
})

test('a follower is answered by the settlement’s verdict, not by the handler’s result', async () => {
  const lock = lockOver({ staleAfterMs: 200, renew: false, lockWaitMs: 3000 })
  const key = { messageId: 'm1', prospect: 'p', device: 'd' }
  const zombie = gate()
  const first = lock.run(key, zombie.work)
  await zombie.entered
  const second = gate()
  const follower = lock.run(key, second.work)
  // The first has lost its lease, the follower has taken over, a third waits; now the first ends, with success.
  await second.entered
  const third = lock.run(key, () => 'third', { lockWaitMs: 10_000 })
  zombie.open('zombie')
  await first
  second.fail(new Error('the second failed'))
  await expect(follower).rejects.toThrow('the second failed')
  expect(await third).toMatchObject({ status: 'processed', value: 'third' })
})

test('what was waited for is done, and the rest of the delivery goes on at once', async () => {
  const lock = lockOver()
  const first = gate()
  const running = lock.run({ messageId: 'm1', prospect: 'a' }, first.work)
  await first.entered
  const messages = [
    { id: 'm1', prospect: 'a' },
    { id: 'm2', prospect: 'b' },
  ]
  const both = lock.claim({ provider: 'generic', messages }, { lockWaitMs: 1_000_000 })
  await turn()
  first.open()
  await running
  const outcome = await both
  expect(outcome).toMatchObject({ outcome: 'acquired', hold: { fresh: [1], duplicates: [0] } })
  if (outcome.outcome === 'acquired') await outcome.hold.settle({ status: 'completed' })
})

test('a delivery that waits for one session holds no other, in no process', async () => {
  const store = memoryStore(SETTINGS)
  const [one, other] = [lockOver({ store }), lockOver({ store })]
  const first = gate()
  const running = one.run({ messageId: 'm1', prospect: 'a' }, first.work)
  await first.entered
  const messages = [
    { id: 'm2', prospect: 'b' },
    { id: 'm3', prospect: 'a' },
  ]
  const both = other.claim({ provider: 'generic', messages }, { lockWaitMs: 1_000_000 })
  await turn()
  expect((await store.sessions({ limit: 9 })).map((row) => row.prospect)).toEqual(['a'])
  expect((await one.run({ messageId: 'm4', prospect: 'b' }, () => 1)).status).toBe('processed')
  first.open()
  await running
  const outcome = await both
  if (outcome.outcome !== 'acquired') throw new Error(outcome.outcome)
  expect(outcome.hold.fresh).toEqual([0, 1])
  await outcome.hold.settle({ status: 'completed' })
})

test('a renewal that is answered after the settlement is no lost lease', async () => {
  const store = memoryStore(SETTINGS)
  let answer: () => void = () => undefined
  let ask: () => void = () => undefined
  const asked = new Promise<void>((resolve) => {
    ask = resolve
  })
  const answered = new Promise<void>((resolve) => {
    answer = resolve
  })
  const slow: Store = Object.assign(Object.create(store), {
    renew: async (renewals: Parameters<Store['renew']>[0]) => {
      ask()
      await answered
      return store.renew(renewals)
    },
  })
  const lock = lockOver({ store: slow, staleAfterMs: 300 })
  const lost: unknown[] = []
  lock.on('lease_lost', (event) => lost.push(event))
  await lock.run({ messageId: 'm1' }, () => asked)
  answer()
  await turn()
  expect(lost).toEqual([])
})

test('a handler that claims its own session is told so; after its end, anybody may', async () => {
  const lock = lockOver()
  const key = { messageId: 'm1', prospect: 'p', device: 'd' }
  const inner = lock.run(key, async () => {
    await turn()
    return lock.run({ messageId: 'm2', prospect: 'p', device: 'd' }, () => 1)
  })
  await expect(inner).rejects.toMatchObject({ code: 'REENTRY' })
  await lock.run({ messageId: 'm3', prospect: 'p', device: 'd' }, async () => {
    // Another session is nobody's own.
    expect((await lock.run({ messageId: 'm4', prospect: 'other' }, () => 1)).status).toBe('processed')
  })
})

test('every outcome is an event, and a listener that throws harms nobody', async () => {
  const lock = lockOver()
  const seen: string[] = []
  for (const name of ['acquired', 'duplicate', 'busy', 'released', 'failed'] as const) {
    lock.on(name, (event) => {
      seen.push(`${name} ${event.messageIds}`)
      throw new Error('a listener that throws')
    })
  }
  const key = (messageId: string) => ({ messageId, prospect: 'p' })
  const first = gate()
  const running = lock.run(key('m1'), first.work)
  await first.entered
  await lock.run(key('m1'), () => 1, { lockWaitMs: 0 })
  await lock.run(key('m2'), () => 1, { lockWaitMs: 0 })
  first.open()
  await running
  await lock.run(key('m1'), () => 1)
  await lock.run(key('m3'), () => Promise.reject(new Error('no'))).catch(() => undefined)
  expect(seen).toEqual([
    'acquired m1',
    'duplicate m1',
    'busy m2',
    'released m1',
    'duplicate m1',
    'acquired m3',
    'failed m3',
  ])
})

/** A store that is down until it is told otherwise. */
function brokenStore(): { store: Store; mend: () => void } {
  const store = memoryStore(SETTINGS)
  let down = true
  const fail = () => Promise.reject(new StoreError('unreachable', 'the store is down'))
  const broken: Store = Object.assign(Object.create(store), {
    claim: (claims: Parameters<Store['claim']>[0]) => (down ? fail() : store.claim(claims)),
  })
  return {
    store: broken,
    mend: () => {
      down = false
    },
  }
}

test('a store that is down rejects, and is used again once it is back', async () => {
  const { store, mend } = brokenStore()
  const lock = lockOver({ store })
  const errors: string[] = []
  lock.on('store_error', ({ during, kind }) => errors.push(`${during}: ${kind}`))
  await expect(lock.run({ messageId: 'm1' }, () => 1)).rejects.toMatchObject({ kind: 'unreachable' })
  expect(errors).toEqual(['claim: unreachable'])
  mend()
  expect((await lock.run({ messageId: 'm1' }, () => 1)).status).toBe('processed')
})

test('onStoreError: allow handles without protection, counted and logged', async () => {
  const { store } = brokenStore()
  const lines: string[] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) })
  const lock = lockOver({ store, logger, onStoreError: 'allow' })
  expect(await lock.run({ messageId: 'm1' }, (lease) => lease.fencingToken)).toMatchObject({
    status: 'processed',
    value: 0,
  })
  expect((await lock.stats()).node).toMatchObject({ unprotected: 1, storeErrors: 1 })
  expect(lines.join()).toContain('UNPROTECTED')
})

test('messages in hand are shown as processing, with their session', async () => {
  const lock = lockOver()
  const first = gate()
  const running = lock.run({ messageId: 'm1', prospect: 'p', device: 'd' }, first.work)
  await first.entered
  expect(await lock.messages()).toMatchObject([{ messageId: 'm1', device: 'd', status: 'processing' }])
  expect(await lock.sessions({ prospect: 'p' })).toMatchObject([
    { messageIds: ['m1'], nodeId: lock.options.nodeId, stale: false },
  ])
  expect(await lock.sessions({ prospect: 'other' })).toEqual([])
  expect((await lock.stats()).node).toMatchObject({ holding: 1, waiting: 0, acquired: 1 })
  first.open()
  await running
})

test('10 000 simultaneous duplicates of one message cost the store what one does; later ones, nothing', async () => {
  const { store, calls } = countCalls(memoryStore(SETTINGS))
  const lock = lockOver({ store })
  const key = { messageId: 'm1', prospect: 'p' }
  const results = await Promise.all(Array.from({ length: 10_000 }, () => lock.run(key, turn)))
  expect(results.filter(({ status }) => status === 'processed')).toHaveLength(1)
  expect(results.filter(({ status }) => status === 'duplicate')).toHaveLength(9_999)
  expect(calls).toEqual({ claim: 1, look: 0, settle: 1, renew: 0 })
  for (let again = 0; again < 10; again += 1) await lock.run(key, () => 1)
  expect(calls).toEqual({ claim: 1, look: 0, settle: 1, renew: 0 })
})

test('a remembered message does not keep the rest of its delivery from being handled', async () => {
  const lock = lockOver()
  await lock.run({ messageId: 'm1', prospect: 'p' }, () => 1)
  const messages = [
    { id: 'm1', prospect: 'p' },
    { id: 'm2', prospect: 'p' },
    { id: 'm3', prospect: 'q' },
  ]
  const outcome = await lock.claim({ provider: 'generic', messages })
  expect(outcome).toMatchObject({ outcome: 'acquired', hold: { fresh: [1, 2], duplicates: [0] } })
  if (outcome.outcome === 'acquired') await outcome.hold.settle({ status: 'completed' })
})

test('expired messages go with the clean-up', async () => {
  const lock = lockOver({ retentionMs: 1 })
  await lock.run({ messageId: 'm1' }, () => 1)
  await turn()
  expect(await lock.cleanup()).toEqual({ messages: 1, sessions: 0 })
  expect((await lock.run({ messageId: 'm1' }, () => 1)).status).toBe('processed')
})

test('more waiters than maxWaiters are refused at once', async () => {
  const lock = lockOver({ maxWaiters: 1, lockWaitMs: 5000 })
  const first = gate()
  const running = lock.run({ messageId: 'm1', prospect: 'p' }, first.work)
  await first.entered
  const waiting = lock.run({ messageId: 'm2', prospect: 'p' }, () => 2)
  expect((await lock.run({ messageId: 'm3', prospect: 'p' }, () => 3)).status).toBe('busy')
  first.open()
  await running
  expect((await waiting).status).toBe('processed')
})

test('anything can be thrown, also what no text can be made of: the session goes on', async () => {
  const lock = lockOver()
  const thrown = Object.create(null)
  const run = lock.run({ messageId: 'm1', prospect: 'p' }, () => {
    throw thrown
  })
  expect(await run.catch((error: unknown) => error)).toBe(thrown)
  expect(await lock.run({ messageId: 'm2', prospect: 'p' }, () => 'next')).toMatchObject({ value: 'next' })
  expect(lock.counts().holding).toBe(0)
  const [failed] = (await lock.messages()).filter(({ messageId }) => messageId === 'm1')
  expect(failed).toMatchObject({ status: 'failed', lastError: 'what was thrown cannot be shown as text' })
})

test('work that plans its next round from within itself keeps nothing of the rounds before', async () => {
  const lock = lockOver()
  const depths: number[] = []
  let next = () => lock.run({ session: 'rounds' }, work)
  function work() {
    let depth = 0
    for (let running = runningNow(); running; running = running.outer) depth += 1
    depths.push(depth)
    next = AsyncResource.bind(() => lock.run({ session: 'rounds' }, work))
  }
  for (let round = 0; round < 5; round += 1) await next()
  expect(depths).toEqual([1, 1, 1, 1, 1])
})

test('a session is released under any of a person’s names', async () => {
  const lock = lockOver({ alias: (prospect) => (prospect === '49' ? 'anna' : prospect) })
  const handler = gate()
  const running = lock.run({ prospect: '49', device: 'bot' }, handler.work)
  await handler.entered
  expect(await lock.release({ prospect: '49', device: 'bot' })).toMatchObject({ prospect: 'anna' })
  handler.open()
  await running
})
