import { setTimeout } from 'node:timers/promises'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { memoryStore } from '../../src/store/memory.ts'
import { acquire, addresses, claimOf, settlementOf } from './store-items.ts'

afterEach(() => vi.restoreAllMocks())

describe('memory store', () => {
  function open(start = 1_000_000) {
    const clock = { now: start }
    return { clock, store: memoryStore({ now: () => clock.now }) }
  }

  test('a system clock that is set back revives no lease and shrinks no token', async () => {
    const store = memoryStore()
    const first = await acquire(store, claimOf('a', 's', 'm1', { staleAfterMs: 20 }))
    vi.spyOn(Date, 'now').mockReturnValue(Date.now() - 500_000)
    await setTimeout(30)
    expect(await store.sessions({ stale: true, limit: 10 })).toHaveLength(1)
    expect(await acquire(store, claimOf('b', 's', 'm2'))).toBeGreaterThan(first)
  })

  test('tokens grow over clean releases within one millisecond', async () => {
    const { store } = open()
    let last = 0
    for (let round = 0; round < 5000; round++) {
      const token = await acquire(store, claimOf(`o${round}`, 's', `m${round}`))
      expect(token).toBeGreaterThan(last)
      last = token
      expect(await store.settle([settlementOf(`o${round}`, 's', `m${round}`, token)])).toEqual(['settled'])
    }
  })

  test('stays bounded without a clean-up: settlements drop what has expired', async () => {
    const { clock, store } = open()
    for (let round = 0; round < 1000; round++) {
      const token = await acquire(store, claimOf(`o${round}`, 's', `m${round}`))
      await store.settle([settlementOf(`o${round}`, 's', `m${round}`, token, { retentionMs: 100 })])
      clock.now += 10
    }
    const { messages, sessions } = await store.stats()
    expect(messages.completed).toBeLessThanOrEqual(11)
    expect(sessions).toBe(0)
  })

  test('drops what was handled anew in its turn, and goes on after there was nothing left', async () => {
    const { clock, store } = open()
    const handle = async (id: string, outcome: 'completed' | 'failed') => {
      const token = await acquire(store, claimOf(`o${id}`, 's', id))
      await store.settle([settlementOf(`o${id}`, 's', id, token, { retentionMs: 100, outcome })])
    }
    for (let round = 0; round < 3; round++) {
      await handle('again', 'failed')
      for (let number = 0; number < 4; number++) await handle(`${round}:${number}`, 'completed')
      clock.now += 60
      await handle('again', 'completed')
      clock.now += 60
      await handle(`${round}:after`, 'completed')
      await handle(`${round}:last`, 'completed')
      const kept = (await store.messages({ limit: 10 })).map(({ messageId }) => messageId)
      expect(kept.sort()).toEqual([`${round}:after`, `${round}:last`, 'again'])
      clock.now += 200
      for (let number = 0; number < 2; number++) await handle(`${round}:end${number}`, 'completed')
      clock.now += 200
    }
  })

  test('a failure under a second session does not take a completion back', async () => {
    const { store } = open()
    const one = await acquire(store, claimOf('a', 's1', 'm'))
    const two = await acquire(store, claimOf('b', 's2', 'm'))
    expect(await store.settle([settlementOf('a', 's1', 'm', one)])).toEqual(['settled'])
    expect(await store.settle([settlementOf('b', 's2', 'm', two, { outcome: 'failed' })])).toEqual(['settled'])
    expect(await store.look(addresses(['m']))).toEqual([{ key: 'm', response: null }])
  })

  test("a repeated settlement counts as settled, another owner's does not", async () => {
    const { store } = open()
    const token = await acquire(store, claimOf('a', 's', 'm'))
    const settlement = settlementOf('a', 's', 'm', token)
    expect(await store.settle([settlement])).toEqual(['settled'])
    expect(await store.settle([settlement])).toEqual(['settled'])
    expect(await store.settle([settlementOf('b', 's', 'm', token)])).toEqual(['lost'])
    expect((await store.messages({ limit: 10 })).map((row) => row.attempts)).toEqual([1])
  })

  test('clean-up removes what has expired or was abandoned, up to the limit, and nothing else', async () => {
    const { clock, store } = open()
    for (let round = 0; round < 6; round++) {
      const token = await acquire(store, claimOf(`o${round}`, `s${round}`, `m${round}`))
      const retentionMs = round % 2 === 0 ? 10_000 : 100
      await store.settle([settlementOf(`o${round}`, `s${round}`, `m${round}`, token, { retentionMs })])
    }
    await acquire(store, claimOf('crashed', 'dead', 'x'))
    clock.now += 3000
    await acquire(store, claimOf('alive', 'live', 'y'))
    expect(await store.cleanup({ abandonedAfterMs: 1000, limit: 2 })).toEqual({ messages: 2, sessions: 1, more: true })
    expect(await store.cleanup({ abandonedAfterMs: 1000, limit: 2 })).toEqual({ messages: 1, sessions: 0, more: false })
    expect((await store.sessions({ limit: 10 })).map((row) => row.key)).toEqual(['live'])
    expect((await store.stats()).messages.completed).toBe(3)
  })
})
