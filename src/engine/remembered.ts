/** What this process remembers of completed messages, so that a duplicate of one need not ask the store. */
import { LRUCache } from 'lru-cache'
import type { CompletedMessage } from '../store/store.ts'
import { isFingerprint } from './keys.ts'
import type { Plan } from './plan.ts'
import type { Port } from './port.ts'
import { NONE } from './turn.ts'

export interface Remembered {
  /** Those of a plan's messages that are known to be completed, by key. */
  of(plan: Plan): ReadonlyMap<string, CompletedMessage>
  /** Messages that this process has completed just now. */
  add(messages: readonly CompletedMessage[], retentionMs: number): void
}

/** Not for longer: another node may forget a message, or have it handled again, on an operator's word. */
const REMEMBERED_MS = 60_000
const MAX_MESSAGES = 20_000
/** Of stored answers. */
const MAX_BYTES = 16 * 1024 * 1024

export function createRemembered(port: Port): Remembered {
  // Until when, by key. Few messages have a stored answer, and the others need no more than this.
  const plain = new LRUCache<string, number>({ max: MAX_MESSAGES })
  const answered = new LRUCache<string, { readonly until: number; readonly response: Uint8Array }>({
    max: MAX_MESSAGES,
    maxSize: MAX_BYTES,
    sizeCalculation: ({ response }) => response.length + 1,
  })

  function find(key: string): CompletedMessage | undefined {
    const until = plain.get(key)
    if (until !== undefined) return until > port.now() ? { key, response: null } : undefined
    const found = answered.size === 0 ? undefined : answered.get(key)
    return found && found.until > port.now() ? { key, response: found.response } : undefined
  }

  return {
    of(plan) {
      let known: Map<string, CompletedMessage> | undefined
      for (const part of plan.parts) {
        for (const { key } of part.messages) {
          const found = find(key)
          if (found) known = (known ?? new Map<string, CompletedMessage>()).set(key, found)
        }
      }
      return known ?? NONE
    },
    add(messages, retentionMs) {
      const until = port.now() + Math.min(retentionMs, REMEMBERED_MS)
      for (const { key, response } of messages) {
        if (isFingerprint(key)) continue
        if (response === null) plain.set(key, until)
        else {
          // A message that is handled again can have an answer where it had none.
          plain.delete(key)
          answered.set(key, { until, response })
        }
      }
    },
  }
}
