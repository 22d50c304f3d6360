/** Arrivals, takes and their endings, with everything filled in that a check does not care about. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import type { Arrival, ArrivalVerdict, Queue, QueueStep, Take, Taken } from '../store/queue.ts'
import type { SessionRow, SettlementVerdict, Store } from '../store/store.ts'
import { LONG_MS, message, only, row } from './asking.ts'

export function queueOf({ name, queue }: Store): Queue {
  assert.ok(queue, `${name} has no queue`)
  return queue
}

export function arrivalOf(sessionKey: string, keys: readonly string[], gather: Arrival['gather'] = null): Arrival {
  const messages = keys.map((key) => ({ ...message(key), row: row(sessionKey), payload: Buffer.from(`\0${key}`) }))
  return { owner: randomUUID(), messages, gather }
}

export async function enqueue(store: Store, arrival: Arrival): Promise<ArrivalVerdict> {
  return only(await queueOf(store).enqueue([arrival]))
}

export async function take(store: Store, sessions = 1, details: Partial<Take> = {}): Promise<Taken[]> {
  const owners = Array.from({ length: sessions }, () => randomUUID())
  const rest = { nodeId: 'node-1', staleAfterMs: LONG_MS, tokenAbove: 0, messagesEach: 1, lastAttempt: 9 }
  return queueOf(store).take({ owners, ...rest, ...details })
}

export function keysOf(taken: Taken): string[] {
  return taken.messages.map(({ key }) => key)
}

export async function rowIn(store: Store, key: string): Promise<SessionRow> {
  return only(await store.sessions({ keys: [key], limit: 2 }))
}

interface Ending {
  readonly outcome: 'completed' | 'failed' | 'released'
  readonly error?: string | null
}

export async function finish(
  store: Store,
  { claim, fencingToken, messages }: Taken,
  step: QueueStep,
  { outcome, error = null }: Ending = { outcome: 'completed' },
): Promise<SettlementVerdict> {
  const rows = claim.parts.flatMap((one) => one.rows.map(({ key }) => ({ key, fencingToken })))
  const { owner, nodeId } = claim
  const rest = { retentionMs: LONG_MS, error, response: null }
  const verdict = only(await store.settle([{ owner, nodeId, rows, messages, outcome, step, ...rest }]))
  return verdict === 'contended' ? 'settled' : verdict
}

/** Takes and completes until nothing is due. Fails where a message that was completed comes again. */
export async function handleAll(store: Store): Promise<string[]> {
  const handled: string[] = []
  for (;;) {
    const taken = await take(store, 3)
    if (taken.length === 0) return handled
    for (const one of taken) {
      const keys = keysOf(one)
      const again = keys.filter((key) => handled.includes(key))
      assert.deepEqual(again, [], `taken again after their completion: ${again.join(', ')}`)
      assert.notEqual(keys.length, 0, 'a session was taken without a message')
      handled.push(...keys)
      assert.equal(await finish(store, one, { next: 'go-on' }), 'settled')
    }
  }
}

export function requeue(store: Store, key: string, from: 'dead' | 'completed'): Promise<number> {
  return queueOf(store).requeue([{ key, row: row('S') }], from)
}
