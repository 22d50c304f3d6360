/** Traffic on a cluster, and an independent log of it: what the handlers did, by the clock of the test. */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { SessionLock } from '../../src/index.ts'
import { seededRandom } from '../../src/testing/waiting.ts'

/** One message in one handler's hands. */
export interface Handled {
  readonly id: string
  /** Of one person, under one name or two. */
  readonly sessions: readonly string[]
  readonly token: number
  readonly startedAt: number
  endedAt: number
  /** When the engine said that it is settled as completed. */
  completedAt: number
}

/** Deliveries that go on until they are stopped. */
export interface Traffic {
  readonly log: readonly Handled[]
  /** What a claim rejected with. */
  readonly errors: readonly unknown[]
  /** How many messages of this session were completed. */
  countOf(session: string): number
  /** Rejects where a worker failed. */
  stop(): Promise<void>
}

interface Delivery {
  readonly provider: string
  readonly twins: boolean
  readonly messages: ReadonlyArray<{ readonly id: string; readonly prospect: string; readonly prospectAlt?: string }>
}

const WORKERS = 12
const MOST_MESSAGES = 3
const REDELIVERED = 0.2
const KEPT = 20

/**
 * Each worker sends deliveries to random locks, each until all its messages are completed: of one or several
 * sessions, of people with two names, of twins; every fifth is one that was completed before.
 */
export function startTraffic(locks: readonly SessionLock[], sessions: readonly string[], seed: number): Traffic {
  const random = seededRandom(seed)
  const anyOf = <Item>(items: readonly Item[]) => items[Math.floor(random() * items.length)] as Item
  const log: Handled[] = []
  const errors: unknown[] = []
  const done: Delivery[] = []
  let isOver = false
  let number = 0

  function newDelivery(): Delivery {
    const size = random() < 0.6 ? 1 : 1 + Math.ceil(random() * (MOST_MESSAGES - 1))
    const messages = Array.from({ length: size }, () => ({
      id: `m${number++}`,
      prospect: anyOf(sessions),
      ...(random() < 0.2 && { prospectAlt: anyOf(sessions) }),
    }))
    return { provider: 'p', twins: random() < 0.2, messages }
  }

  /** true: nothing of it is left to be handled. */
  async function deliver(delivery: Delivery): Promise<boolean> {
    const outcome = await anyOf(locks).claim(delivery)
    if (outcome.outcome !== 'acquired') return outcome.outcome === 'duplicate' && outcome.of === 'completed'
    const { hold } = outcome
    const startedAt = performance.now()
    const entries = hold.leases.flatMap(({ messageIds, fencingToken }) =>
      messageIds.map((id): Handled => {
        const message = delivery.messages.find((one) => one.id === id)
        const names = new Set([message?.prospect, message?.prospectAlt].filter((name) => name !== undefined))
        return { id, sessions: [...names], token: fencingToken, startedAt, endedAt: Infinity, completedAt: Infinity }
      }),
    )
    log.push(...entries)
    await sleep(random() * 4)
    for (const entry of entries) entry.endedAt = performance.now()
    const isSettled = (await hold.settle({ status: 'completed' })) === 'settled'
    if (isSettled) for (const entry of entries) entry.completedAt = performance.now()
    return isSettled && hold.withheld === null
  }

  async function work(): Promise<void> {
    while (!isOver) {
      const again = random() < REDELIVERED ? anyOf(done.slice(-KEPT)) : undefined
      const delivery = again ?? newDelivery()
      let isDone = false
      while (!isDone && !isOver) {
        isDone = await deliver(delivery).catch((error: unknown) => {
          errors.push(error)
          return false
        })
        if (!isDone) await sleep(10)
      }
      if (isDone && !again) done.push(delivery)
    }
  }

  const workers = Array.from({ length: WORKERS }, work)
  return {
    log,
    errors,
    countOf: (session) =>
      log.filter(({ sessions: s, completedAt }) => s.includes(session) && completedAt < Infinity).length,
    async stop() {
      isOver = true
      await Promise.all(workers)
    },
  }
}

/** What is lost with a master may have been handed on this late, on a busy machine. */
const LOSS_MS = 2000

/**
 * Sessions never overlap, tokens grow, nothing completed is handled again, and all that went wrong is a store error.
 *
 * @param lossAt when a master died, if one did: what it had not yet handed on is lost, so what was claimed or
 * completed in the moment before that may happen again afterwards, and only then.
 */
export function assertExclusive({ log, errors }: Traffic, lossAt = Number.NEGATIVE_INFINITY): void {
  const isLost = (at: number, next: Handled) => Math.abs(at - lossAt) < LOSS_MS && next.startedAt > lossAt
  const last = new Map<string, Handled>()
  const completed = new Map<string, Handled>()
  for (const entry of [...log].sort((one, other) => one.startedAt - other.startedAt)) {
    for (const session of entry.sessions) {
      const before = last.get(session)
      last.set(session, entry)
      // Messages of one delivery share a lease.
      if (!before || before.token === entry.token) continue
      expect(entry.token, `${session} has a smaller token`).toBeGreaterThan(before.token)
      if (isLost(before.startedAt, entry)) continue
      expect(entry.startedAt, `${session} has two holders`).toBeGreaterThanOrEqual(before.endedAt)
    }
    const first = completed.get(entry.id)
    if (first && !isLost(first.completedAt, entry)) {
      expect(entry.startedAt, `${entry.id} is handled again`).toBeLessThan(first.completedAt)
    }
    completed.set(entry.id, entry)
  }
  for (const error of errors) expect(error).toMatchObject({ name: 'StoreError', kind: 'unreachable' })
}
