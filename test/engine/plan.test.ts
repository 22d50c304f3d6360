/** Which rows a delivery needs: several names of one person, groups, twins, messages without ids. */
import { expect, onTestFinished, test } from 'vitest'
import type { DeliveryMessage } from '../../src/engine/delivery.ts'
import { planDelivery } from '../../src/engine/plan.ts'
import { createSessionLock, type SessionLockOptions } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'

function partsOf(messages: DeliveryMessage[], twins = false) {
  const { parts } = planDelivery({ provider: 'p', messages, twins }, 'both')
  return parts.map((part) => ({ rows: part.rows.map((row) => row.key), messages: part.messages.map(({ id }) => id) }))
}

function lockOver(options: SessionLockOptions = {}) {
  const store = memoryStore({ tablePrefix: 'session_lock_', timeoutMs: 1000 })
  const lock = createSessionLock({ store, logger: false, closeTimeoutMs: 0, ...options })
  onTestFinished(() => lock.close())
  return lock
}

test('messages of one session share a part, those of others have their own', () => {
  const messages = [
    { id: '1', prospect: 'a' },
    { id: '2', prospect: 'b' },
    { id: '3', prospect: 'a' },
  ]
  expect(partsOf(messages)).toEqual([
    { rows: ['s:-:1:a'], messages: ['1', '3'] },
    { rows: ['s:-:1:b'], messages: ['2'] },
  ])
})

test('a person with two names holds both; who shares one of them is the same person', () => {
  const messages = [
    { id: '1', prospect: 'phone' },
    { id: '2', prospect: 'lid' },
    { id: '3', prospect: 'phone', prospectAlt: 'lid' },
    { id: '4', prospect: 'lid' },
  ]
  expect(partsOf(messages)).toEqual([{ rows: ['s:-:5:phone', 's:-:3:lid'], messages: ['1', '2', '3', '4'] }])
})

test('a group names the session only where there is no person', () => {
  expect(partsOf([{ id: '1', prospect: 'a', group: 'g' }])[0]?.rows).toEqual(['s:-:1:a'])
  expect(partsOf([{ id: '1', group: 'g' }])[0]?.rows).toEqual(['s:-:1:g'])
})

test('a status shares no session: its own key is all that it holds, and it waits for no slow reply', async () => {
  const read = { id: 'm:read', prospect: 'a', kind: 'status' } as const
  expect(partsOf([{ id: '1', prospect: 'a' }, read])).toEqual([
    { rows: ['s:-:1:a'], messages: ['1'] },
    { rows: ['m:1:p-:6:m:read'], messages: ['m:read'] },
  ])
  const lock = lockOver({ lockWaitMs: 0 })
  const claim = (message: DeliveryMessage) => lock.claim({ provider: 'p', messages: [message] })
  expect((await claim({ id: '1', prospect: 'a' })).outcome).toBe('acquired')
  expect((await claim({ id: '2', prospect: 'a' })).outcome).toBe('busy')
  expect((await claim(read)).outcome).toBe('acquired')
})

test('where ids are counted anew in each conversation, one id in two of them is two messages', () => {
  const at = (within?: string) => ({ id: '1700000000000', prospect: 'a', within })
  expect(partsOf([at('chat 1'), at('chat 2'), at('chat 1'), at()])[0]?.messages).toHaveLength(3)
  const keyOf = (message: DeliveryMessage) =>
    planDelivery({ provider: 'p', messages: [message] }, 'both').parts[0]?.messages[0]?.key
  expect(keyOf({ id: '1', device: 'd', within: '2' })).not.toBe(keyOf({ id: '2', device: 'd', within: '1' }))
  expect(() => partsOf([{ id: '1', within: 7 }])).toThrow('within')
})

test('a twin holds its message beside its session', () => {
  const [part] = partsOf([{ id: '1', prospect: 'a@lid' }], true)
  expect(part?.rows).toEqual(['s:-:5:a@lid', 'm:1:p-:1:1'])
})

test('a message is at home in its session, under whatever else it is held; in its own row where it has one', () => {
  const homesOf = (messages: DeliveryMessage[], twins = false, scope: 'both' | 'message' = 'both') =>
    planDelivery({ provider: 'p', messages, twins }, scope).parts.flatMap((part) => {
      const rows = part.rows.map((row) => row.key)
      expect(rows).toEqual(expect.arrayContaining(part.messages.map(({ home }) => home)))
      return part.messages.map(({ id, home }) => [id, home])
    })
  const [alone, beside] = [
    { id: '1', prospect: 'phone', prospectAlt: 'lid' },
    { id: '2', prospect: 'lid' },
  ]
  expect(homesOf([alone])).toEqual([['1', 's:-:5:phone']])
  expect(homesOf([beside, alone])).toEqual([
    ['2', 's:-:3:lid'],
    ['1', 's:-:5:phone'],
  ])
  expect(homesOf([alone], true)).toEqual([['1', 'm:1:p-:1:1']])
  expect(homesOf([alone], false, 'message')).toEqual([['1', 'm:1:p-:1:1']])
  expect(homesOf([{ id: '1', prospect: 'a', kind: 'status' }])).toEqual([['1', 'm:1:p-:1:1']])
})

test('the two webhooks of one message under two sessions are handled once', async () => {
  const lock = lockOver()
  const twin = (prospect: string) => lock.claim({ provider: 'waha', twins: true, messages: [{ id: 'm', prospect }] })
  const first = await twin('a@c.us')
  if (first.outcome !== 'acquired') throw new Error(first.outcome)
  const second = twin('a@lid')
  await first.hold.settle({ status: 'completed' })
  expect(await second).toMatchObject({ outcome: 'duplicate', of: 'completed' })
})

test('an alias makes two names one session, and what it throws is the claim’s error', async () => {
  const lock = lockOver({ alias: async (prospect) => (prospect === 'new number' ? 'old number' : prospect) })
  const claim = (id: string, prospect: string) =>
    lock.claim({ provider: 'p', messages: [{ id, prospect }] }, { lockWaitMs: 0 })
  expect((await claim('1', 'old number')).outcome).toBe('acquired')
  expect((await claim('2', 'new number')).outcome).toBe('busy')
  const failing = lockOver({ alias: () => Promise.reject(new Error('no contacts')) })
  await expect(failing.run({ messageId: '1', prospect: 'a' }, () => 1)).rejects.toThrow('no contacts')
})

test('what an alias takes its time for is part of the wait', async () => {
  const lock = lockOver({ alias: (prospect) => new Promise((resolve) => setTimeout(resolve, 60, prospect)) })
  const waited: number[] = []
  lock.on('busy', ({ waitedMs }) => void waited.push(waitedMs))
  const claim = (id: string) => lock.claim({ provider: 'p', messages: [{ id, prospect: 'a' }] }, { lockWaitMs: 0 })
  expect((await claim('1')).outcome).toBe('acquired')
  expect((await claim('2')).outcome).toBe('busy')
  expect(waited).toEqual([expect.toSatisfy((waitedMs: number) => waitedMs >= 50)])
})

test('without an id, the same content of the same person is one message while it is handled, and not later', async () => {
  const lock = lockOver()
  const claim = (content: string, prospect = 'a') =>
    lock.claim({ provider: 'p', messages: [{ prospect, device: 'd', content }] }, { lockWaitMs: 5000 })
  const first = await claim('1')
  if (first.outcome !== 'acquired') throw new Error(first.outcome)
  const repeated = claim('1')
  const other = claim('1', 'b')
  expect((await other).outcome).toBe('acquired')
  await first.hold.settle({ status: 'completed' })
  expect(await repeated).toMatchObject({ outcome: 'duplicate', of: 'completed' })
  // Forgotten soon, so that a second honest "1" gets through.
  const [row] = await lock.messages({ status: 'completed' })
  expect((row?.expiresAt as number) - (row?.finishedAt as number)).toBeLessThan(2000)
})

test('a claim that the store does not answer in time is refused, and given back when it does', async () => {
  const store = memoryStore({ tablePrefix: 'session_lock_', timeoutMs: 1000 })
  let answer: () => void = () => undefined
  const asked = new Promise<void>((resolve) => {
    answer = resolve
  })
  const slow = Object.assign(Object.create(store), {
    claim: async (claims: Parameters<typeof store.claim>[0]) => {
      const verdicts = await store.claim(claims)
      await asked
      return verdicts
    },
  })
  const lock = lockOver({ store: slow })
  const claim = lock.claim({ provider: 'p', messages: [{ id: '1', prospect: 'a' }] }, { answerWithinMs: 30 })
  await expect(claim).rejects.toMatchObject({ kind: 'unreachable' })
  expect(await store.sessions({ limit: 1 })).toHaveLength(1)
  answer()
  await expect.poll(() => store.sessions({ limit: 1 })).toEqual([])
})

test('what has no key is handled, whatever duplicates it comes with', async () => {
  const lock = lockOver()
  await lock.run({ provider: 'p', messageId: '1', prospect: 'a' }, () => 1)
  for (const beside of [{}, { prospect: 'a' }]) {
    const outcome = await lock.claim({ provider: 'p', messages: [{ id: '1', prospect: 'a' }, beside] })
    expect(outcome).toMatchObject({ outcome: 'acquired', hold: { fresh: [1], duplicates: [0] } })
  }
  const messages = [{ id: '1', prospect: 'a' }, { prospect: 'a' }, { id: '2', prospect: 'b' }]
  const outcome = await lock.claim({ provider: 'p', messages })
  expect(outcome).toMatchObject({ outcome: 'acquired', hold: { fresh: [1, 2], duplicates: [0] } })
})
