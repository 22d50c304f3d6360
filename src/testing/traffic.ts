/**
 * Random traffic: many handles, few sessions, redeliveries, failures, crashes, answers that were
 * lost. What is checked is what the engine relies on, seen from outside the store.
 */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Claim, Store } from '../store/store.ts'
import { claimOf, claimOnce, type Lease, leaseOf, message, only, part, settle } from './asking.ts'
import type { Check, World } from './world.ts'

const HANDLES = 4
const SESSIONS = 6
const MESSAGES = 60
const DELIVERIES = 4
const CRASHED_STALE_MS = 300
const DEADLINE_MS = 40_000

/** What outsiders know of one session. */
interface Seen {
  largestToken: number
  /** Until when, by this process's clock, the latest holder is surely alive; 0 once it settles. */
  aliveUntil: number
}

/** What outsiders know of everything. */
interface Witness {
  readonly sessions: ReadonlyMap<string, Seen>
  readonly completed: Set<string>
}

export const trafficChecks: readonly Check[] = [
  {
    promise: 'random traffic with crashes and lost answers: no overlap, growing tokens, nothing completed is run again',
    run: randomTraffic,
  },
]

async function randomTraffic({ open, random }: World): Promise<void> {
  const stores = await Promise.all(Array.from({ length: HANDLES }, () => open()))
  const names = Array.from({ length: SESSIONS }, (_, index) => `session ${index}`)
  const sessions = new Map(names.map((name) => [name, { largestToken: 0, aliveUntil: 0 }]))
  const witness: Witness = { sessions, completed: new Set() }
  const waiting = Array.from({ length: MESSAGES * DELIVERIES }, (_, index) => index % MESSAGES)
  waiting.sort(() => random() - 0.5)
  const deadline = performance.now() + DEADLINE_MS
  const work = async (store: Store) => {
    for (let number = waiting.pop(); number !== undefined; number = waiting.pop()) {
      const isDone = await deliver(store, names[number % SESSIONS] as string, `m ${number}`, witness, random)
      assert.ok(performance.now() < deadline, `after ${DEADLINE_MS} ms there are still messages to handle`)
      // Its provider sends it again, behind the others.
      if (!isDone) waiting.unshift(number)
      if (!isDone) await sleep(random() * 5)
    }
  }
  await Promise.all(stores.flatMap((store) => [work(store), work(store)]))
  assert.equal(witness.completed.size, MESSAGES)
  const all = Array.from({ length: MESSAGES }, (_, index) => message(`m ${index}`, names[index % SESSIONS]))
  assert.equal((await (stores[0] as Store).look(all)).length, MESSAGES)
}

/** One delivery; true where its message needs no further one. */
async function deliver(store: Store, session: string, id: string, witness: Witness, random: () => number) {
  const claim = claimOf([part([session], [id])], { staleAfterMs: CRASHED_STALE_MS })
  const seen = witness.sessions.get(session) as Seen
  const before = { completed: witness.completed.has(id), token: seen.largestToken }
  const sentAt = performance.now()
  const lease = await claimAnswered(store, claim, random)
  if (lease === 'completed') return true
  if (lease === 'held') return false
  assert.ok(!before.completed, `${id} was completed before and is given again`)
  assert.ok(lease.token > before.token, `${session}: token ${lease.token} after ${before.token}`)
  assert.ok(performance.now() >= seen.aliveUntil, `${session} was given while its holder lives`)
  seen.largestToken = Math.max(seen.largestToken, lease.token)
  seen.aliveUntil = sentAt + CRASHED_STALE_MS
  if (random() < 0.03) return false
  await sleep(random() * 3)
  return settleAnswered(store, lease, id, witness, random)
}

/** Claims, now and then twice, as if the first answer had been lost. */
async function claimAnswered(store: Store, claim: Claim, random: () => number): Promise<Lease | 'held' | 'completed'> {
  const times = random() < 0.2 ? 2 : 1
  let verdict = only(await claimOnce(store, claim))
  if (times === 2) verdict = only(await claimOnce(store, claim))
  if (verdict.outcome === 'acquired') return leaseOf(claim, 0, verdict)
  assert.ok(verdict.outcome === 'held' || verdict.outcome === 'completed', verdict.outcome)
  return verdict.outcome
}

async function settleAnswered(store: Store, lease: Lease, id: string, witness: Witness, random: () => number) {
  const outcome = random() < 0.15 ? 'failed' : 'completed'
  const seen = witness.sessions.get(only(lease.rows).key) as Seen
  if (seen.largestToken === lease.token) seen.aliveUntil = 0
  const verdict = await settle(store, lease, { outcome })
  if (verdict === 'settled' && random() < 0.2) {
    const again = await settle(store, lease, { outcome })
    // A failed message can have been handled by somebody else meanwhile.
    if (outcome === 'completed') assert.equal(again, 'settled', `${id}: a repeated settlement is ${again}`)
  }
  if (verdict === 'lost' || outcome === 'failed') return false
  witness.completed.add(id)
  return true
}
