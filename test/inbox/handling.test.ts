/** What the inbox does with the messages it keeps. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createInbox, RetryLater } from '../../src/inbox/index.ts'
import { createSessionLock, OptionsError } from '../../src/index.ts'
import { gate } from '../http/bot.ts'
import { queueStores, startInbox } from './world.ts'

describe.each(queueStores)('$name', ({ options }) => {
  test('the messages of a session are handled one by one in order, those of others beside them', async () => {
    const first = gate()
    const world = await startInbox(options(), ([message]) => (message?.id === 'a1' ? first.passed : undefined))
    await world.send('anna', 'a1', 'a2', 'a3')
    await world.send('ben', 'b1', 'b2')
    await world.untilCalls(3)
    expect(world.calls.flat().filter((id) => id.startsWith('a'))).toEqual(['a1'])
    expect(world.calls.flat().filter((id) => id.startsWith('b'))).toEqual(['b1', 'b2'])
    first.pass()
    await world.untilEmpty()
    expect(world.calls.flat().filter((id) => id.startsWith('a'))).toEqual(['a1', 'a2', 'a3'])
    await world.close()
  })

  test('the handler is given all that is known of a message', async () => {
    const world = await startInbox(options(), ([message]) => expect(message).toEqual(expected))
    const expected = {
      ...{ id: 'm1', provider: 'test', prospect: 'anna', device: 'bot', kind: 'message', attempt: 1 },
      ...{ receivedAt: expect.any(Number), payload: { text: 'text of m1' } },
    }
    await world.send('anna', 'm1')
    await world.untilEmpty()
    expect(await world.lock.messages()).toMatchObject([{ messageId: 'm1', status: 'completed', attempts: 1 }])
    await world.close()
  })

  test('a message that fails is tried again before the next one of its session, then handled once', async () => {
    const world = await startInbox(options(), (_, call) => {
      if (call < 3) throw new Error('down')
    })
    await world.send('anna', 'm1', 'm2')
    await world.untilEmpty()
    expect(world.calls.flat()).toEqual(['m1', 'm1', 'm1', 'm2'])
    await world.close()
  })

  test('after maxAttempts a message is dead with its error, and its session goes on; retry brings it back', async () => {
    let isDown = true
    const world = await startInbox(
      options(),
      ([message]) => {
        if (message?.id === 'm1' && isDown) throw new Error('no use')
      },
      { maxAttempts: 3 },
    )
    await world.send('anna', 'm1', 'm2')
    await world.untilEmpty()
    expect(world.calls.flat()).toEqual(['m1', 'm1', 'm1', 'm2'])
    const [dead] = await world.lock.messages({ status: 'dead' })
    expect(dead).toMatchObject({ messageId: 'm1', lastError: 'no use', attempts: 3 })
    await world.send('anna', 'm1')
    expect(await world.lock.messages({ status: 'dead' })).toHaveLength(1)
    isDown = false
    expect(await world.inbox.retry('m1')).toBe(1)
    expect(await world.inbox.retry('m1')).toBe(0)
    await world.untilEmpty()
    expect(world.calls.flat().at(-1)).toBe('m1')
    expect(await world.lock.messages({ status: 'dead' })).toEqual([])
    await world.close()
  })

  test('a dead message stops its session where that is wanted, until it is discarded', async () => {
    const world = await startInbox(
      options(),
      ([message]) => {
        if (message?.id === 'm1') throw new Error('no use')
      },
      { maxAttempts: 1, onDead: 'stop' },
    )
    await world.send('anna', 'm1', 'm2')
    await world.send('ben', 'n1')
    await expect.poll(() => world.inbox.stats()).toMatchObject({ stopped: 1, sessions: 1, messages: 2 })
    expect(world.calls.flat()).toEqual(expect.arrayContaining(['m1', 'n1']))
    expect(await world.inbox.discard('m1')).toBe(1)
    await world.untilEmpty()
    expect(world.calls.flat().at(-1)).toBe('m2')
    await world.close()
  })

  test('an error that trying again does not mend kills at once; RetryLater says when', async () => {
    const world = await startInbox(
      options(),
      ([message], call) => {
        if (message?.id === 'hopeless') throw new TypeError('no use')
        if (call === 2) throw new RetryLater(5, 'rate limit')
      },
      { retryable: (error) => !(error instanceof TypeError), retryAfterMs: 3_600_000, retryMostMs: 3_600_000 },
    )
    await world.send('anna', 'hopeless', 'limited')
    await world.untilEmpty()
    expect(world.calls.flat()).toEqual(['hopeless', 'limited', 'limited'])
    await world.close()
  })

  test('three quick messages come in one call, one that comes meanwhile in the next', async () => {
    const running = gate()
    const world = await startInbox(options(), (_, call) => (call === 1 ? running.passed : undefined), { gatherMs: 150 })
    await world.send('anna', 'm1', 'm2', 'm3')
    await world.untilCalls(1)
    await world.send('anna', 'm4')
    running.pass()
    await world.untilEmpty()
    expect(world.calls).toEqual([['m1', 'm2', 'm3'], ['m4']])
    await world.close()
  })

  test('a newer message aborts the running handler where that is wanted, which is called again with both', async () => {
    const world = await startInbox(
      options(),
      async (_, call, signal) => {
        if (call > 1) return
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
        signal.throwIfAborted()
      },
      { gatherMs: 1, onNewer: 'abort' },
    )
    await world.send('anna', 'm1')
    await world.untilCalls(1)
    await world.send('anna', 'm2')
    await world.untilEmpty()
    expect(world.calls).toEqual([['m1'], ['m1', 'm2']])
    await world.close()
  })

  test('a session that has more than one call takes comes to its end, however often a newer message comes', async () => {
    const world = await startInbox(
      options(),
      async (_, call, signal) => {
        const aborted = new Promise((resolve) => signal.addEventListener('abort', resolve))
        // Long enough for several looks at what waits.
        await (call === 1 ? aborted : Promise.race([aborted, sleep(150)]))
        signal.throwIfAborted()
      },
      { gatherMs: 1, gatherMost: 2, onNewer: 'abort' },
    )
    await world.send('anna', 'm1')
    await world.untilCalls(1)
    await world.send('anna', 'm2', 'm3', 'm4', 'm5')
    await world.untilEmpty()
    expect(world.calls).toEqual([['m1'], ['m1', 'm2'], ['m3', 'm4'], ['m5']])
    await world.close()
  })

  test('what comes again aborts nobody, also together with something new of somebody else', async () => {
    const running = gate()
    const aborted: boolean[] = []
    const world = await startInbox(
      options(),
      async ([message], _, signal) => {
        if (message?.id === 'm1') await running.passed
        aborted.push(signal.aborted)
      },
      { gatherMs: 1, onNewer: 'abort' },
    )
    await world.send('anna', 'm1')
    await world.untilCalls(1)
    const of = (prospect: string, id: string) => ({ id, prospect, device: 'bot', kind: 'message' as const })
    await world.inbox.accept({ provider: 'test', messages: [of('anna', 'm1'), of('ben', 'm2')] }, {})
    await world.untilCalls(2)
    running.pass()
    await world.untilEmpty()
    expect(aborted).toEqual([false, false])
    await world.close()
  })

  test('one person under several names is one session', async () => {
    const running = gate()
    const alias = async (prospect: string) => (prospect === '49' || prospect === 'lid' ? 'anna' : prospect)
    const world = await startInbox(options(), (_, call) => (call === 1 ? running.passed : undefined), {
      lockOptions: { alias },
    })
    await world.send('49', 'm1')
    await world.untilCalls(1)
    await world.send('lid', 'm2')
    await world.send('ben', 'm3')
    await world.untilCalls(2)
    expect(world.calls).toEqual([['m1'], ['m3']])
    running.pass()
    await world.untilEmpty()
    expect(world.calls[2]).toEqual(['m2'])
    await world.close()
  })

  test('handlers belong to no request, and to no other handler', async () => {
    const requests = new AsyncLocalStorage<string>()
    const seen: unknown[] = []
    const world = await startInbox(options(), () => void seen.push(requests.getStore()))
    await requests.run('request', () => world.send('anna', 'm1'))
    await world.untilEmpty()
    expect(seen).toEqual([undefined])
    await world.close()
  })

  test('completed messages are handled again when they are replayed', async () => {
    const world = await startInbox(options())
    await world.send('anna', 'm1', 'm2')
    await world.untilEmpty()
    expect(await world.inbox.replay({ ids: ['m2'] })).toBe(1)
    await world.untilEmpty()
    expect(world.calls.flat()).toEqual(['m1', 'm2', 'm2'])
    expect(await world.inbox.replay({ since: Date.now() - 600_000, until: Date.now() - 500_000 })).toBe(0)
    expect(await world.inbox.replay({})).toBe(2)
    await world.untilEmpty()
    await world.close()
  })

  test('a replay whose filter is wrong is refused by name, and nothing is handled again', async () => {
    const world = await startInbox(options())
    await world.send('anna', 'm1')
    await world.untilEmpty()
    for (const [name, filter] of Object.entries({
      since: { since: '2026-01-01' },
      until: { until: Number.NaN },
      ids: { ids: 'm1' },
      limit: { limit: -1 },
      sinse: { sinse: 0 },
      filter: undefined,
    })) {
      const replayed = world.inbox.replay(filter as never)
      await expect(replayed).rejects.toBeInstanceOf(OptionsError)
      await expect(replayed).rejects.toMatchObject({ option: name })
    }
    expect(world.calls.flat()).toEqual(['m1'])
    await world.close()
  })

  test('what is stored can be redacted and encrypted', async () => {
    const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff)
    const seen: unknown[] = []
    const redact = () => ({ text: 'left out' })
    const world = await startInbox(options(), ([message]) => seen.push(message?.payload), {
      redact,
      encrypt: async (bytes) => flip(bytes),
      decrypt: async (bytes) => flip(bytes),
    })
    await world.send('anna', 'm1')
    await world.untilEmpty()
    expect(seen).toEqual([{ text: 'left out' }])
    await world.close()
  })

  test('a stopped inbox keeps what comes, and another node handles it', async () => {
    const store = options()
    const receiver = await startInbox(store)
    await receiver.inbox.stop()
    await receiver.send('anna', 'm1', 'm2')
    expect(receiver.calls).toEqual([])
    const worker = await startInbox(store)
    await worker.untilEmpty()
    expect(worker.calls.flat()).toEqual(['m1', 'm2'])
    await Promise.all([receiver.close(), worker.close()])
  })

  test('a node that stops just as it takes sessions gives them back before its store closes', async () => {
    const store = options()
    const witness = await startInbox(store)
    await witness.inbox.stop()
    for (let round = 0; round < 10; round += 1) {
      const leaving = await startInbox(store)
      await leaving.send(`s${round}`, `m${round}`)
      // Taking is on its way now.
      await leaving.close()
      expect(await witness.lock.sessions({ stale: false })).toEqual([])
    }
    await witness.inbox.start()
    await witness.untilEmpty()
    await witness.close()
  })

  test('stopping waits for what is in hand, and takes no more', async () => {
    const running = gate()
    const world = await startInbox(options(), () => running.passed)
    await world.send('anna', 'm1', 'm2')
    await world.untilCalls(1)
    const stopped = world.inbox.stop()
    running.pass()
    await stopped
    expect(world.calls).toEqual([['m1']])
    expect(await world.inbox.stats()).toMatchObject({ messages: 1, node: { running: 0 } })
    await world.close()
  })

  test('a direct claim of a session with queued messages waits for them', async () => {
    const running = gate()
    const world = await startInbox(options(), () => running.passed)
    await world.send('anna', 'm1')
    await world.untilCalls(1)
    const claim = { messageId: 'direct', prospect: 'anna', device: 'bot', provider: 'test' }
    expect(await world.lock.run(claim, () => 0, { lockWaitMs: 0 })).toMatchObject({ status: 'busy' })
    expect(await world.lock.run({ ...claim, messageId: 'm1' }, () => 0, { lockWaitMs: 0 })).toMatchObject({
      status: 'duplicate',
      of: 'in_flight',
    })
    const waiting = world.lock.run(claim, () => 'had', { lockWaitMs: 20_000 })
    running.pass()
    expect(await waiting).toMatchObject({ status: 'processed', value: 'had' })
    await world.close()
  })
})

test('a wrong option is named', () => {
  const lock = createSessionLock({ store: 'memory:', logger: false })
  const handler = () => undefined
  expect(() => createInbox({ lock, handler, concurency: 3 } as never)).toThrow(
    /"concurency" is unknown; there are: lock,/,
  )
  expect(() => createInbox({ lock, handler, maxAttempts: 0 })).toThrow(
    /"maxAttempts" takes a whole number of at least 1/,
  )
  expect(() => createInbox({ lock } as never)).toThrow(/"handler" is missing/)
  expect(() => createInbox({ lock: {} as never, handler })).toThrow(OptionsError)
  expect(() => createInbox({ lock, handler, encrypt: (bytes) => bytes })).toThrow(/"encrypt" and "decrypt" go together/)
})

test.each(['memory:', 'redis'])('%s is refused, with the stores that would do', async (store) => {
  const url = store === 'redis' ? (process.env['TEST_REDIS_URL'] as string) : store
  const lock = createSessionLock({ store: url, logger: false })
  const inbox = createInbox({ lock, handler: () => undefined })
  await expect(inbox.start()).rejects.toThrow(/the inbox needs a database.*SQLite, MySQL, MariaDB or Postgres/)
  await lock.close()
})
