/** Waiting, repeating and chance, for the checks. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Queue } from '../store/queue.ts'
import { type Store, StoreError } from '../store/store.ts'
import { acquire, look, part, rowOf, settle } from './asking.ts'

const PATIENCE_MS = 10_000
const POLL_MS = 5
const HANG_MS = 15_000

/** Asks again and again until the answer is no longer undefined or false; fails after 10 s, saying what never came. */
export async function until<T>(what: string, probe: () => Promise<T | undefined | false>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    const answer = await probe()
    if (answer !== undefined && answer !== false) return answer
    assert.ok(performance.now() < deadline, `waited ${PATIENCE_MS} ms in vain until ${what}`)
    await sleep(POLL_MS)
  }
}

/** Waits until the row is stale by the store's clock. */
export async function untilStale(store: Store, rowKey: string): Promise<void> {
  await until(`the row ${rowKey} is stale`, async () => {
    const rows = await store.sessions({ keys: [rowKey], stale: true, limit: 1 })
    return rows.length === 1
  })
}

/** Waits until the store no longer counts the message as completed. */
export async function untilForgotten(store: Store, messageKey: string): Promise<void> {
  await until(`the retention of ${messageKey} is over`, async () => (await look(store, [messageKey])).length === 0)
}

/** Waits until the store's clock is past this moment, in epoch milliseconds. */
export async function untilClockPasses(store: Store, moment: number): Promise<void> {
  await until(`the store's clock passes ${moment}`, async () => {
    const probe = await acquire(store, part(['clock']))
    const { lockedAt } = await rowOf(store, 'clock')
    await settle(store, probe, { outcome: 'released' })
    return lockedAt > moment
  })
}

/** Each of these calls, of a store that was closed, rejects with a {@link StoreError}, and in time. */
export async function assertClosed(calls: Readonly<Record<string, () => Promise<unknown>>>): Promise<void> {
  for (const [name, call] of Object.entries(calls)) {
    const answer = await Promise.race([call().catch((error: unknown) => error), hang()])
    assert.ok(answer instanceof StoreError, `${name} after close: ${answer}`)
  }
}

async function hang(): Promise<string> {
  return new Promise((resolve) => setTimeout(resolve, HANG_MS, 'hangs').unref())
}

/** The same store, whose calls are repeated after a conflict, under the same owners, as the engine repeats them. */
export function patient(store: Store): Store {
  return {
    name: store.name,
    singleProcess: store.singleProcess,
    migrate: () => store.migrate(),
    checkSchema: () => store.checkSchema(),
    claim: (claims) => repeatOnConflict(() => store.claim(claims)),
    look: (messages) => repeatOnConflict(() => store.look(messages)),
    renew: (renewals) => repeatOnConflict(() => store.renew(renewals)),
    settle: (settlements) => repeatOnConflict(() => store.settle(settlements)),
    release: (keys, how) => repeatOnConflict(() => store.release(keys, how)),
    sessions: (filter) => repeatOnConflict(() => store.sessions(filter)),
    messages: (filter) => repeatOnConflict(() => store.messages(filter)),
    stats: () => repeatOnConflict(() => store.stats()),
    cleanup: (options) => repeatOnConflict(() => store.cleanup(options)),
    ...(store.listen && { listen: (released) => store.listen?.(released) }),
    ...(store.queue && { queue: patientQueue(store.queue) }),
    ...(store.transactions && { transactions: store.transactions }),
    close: () => store.close(),
  }
}

function patientQueue(queue: Queue): Queue {
  return {
    enqueue: (arrivals) => repeatOnConflict(() => queue.enqueue(arrivals)),
    take: (wanted) => repeatOnConflict(() => queue.take(wanted)),
    haveMore: (keys) => repeatOnConflict(() => queue.haveMore(keys)),
    requeue: (messages, from) => repeatOnConflict(() => queue.requeue(messages, from)),
    discard: (keys, retentionMs) => repeatOnConflict(() => queue.discard(keys, retentionMs)),
    depth: () => repeatOnConflict(() => queue.depth()),
    position: (source) => repeatOnConflict(() => queue.position(source)),
    enqueueFrom: (...args) => repeatOnConflict(() => queue.enqueueFrom(...args)),
  }
}

async function repeatOnConflict<T>(call: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    try {
      return await call()
    } catch (error) {
      const again = error instanceof StoreError && error.kind === 'conflict' && performance.now() < deadline
      if (!again) throw error
    }
    // Two that lost against each other must not meet again in step.
    await sleep(Math.random() * POLL_MS)
  }
}

/** Numbers from 0 up to 1 that depend on nothing but the seed (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
