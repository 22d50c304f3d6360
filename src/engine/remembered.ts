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
/** Of stored answers; a message without one counts as a little. */
const MAX_BYTES = 16 * 1024 * 1024
const BYTES_A_MESSAGE = 200

/** The cache takes no null. */
const NO_RESPONSE = false

export function createRemembered(port: Port): Remembered {
  const cache = new LRUCache<string, Uint8Array | typeof NO_RESPONSE>({
    max: MAX_MESSAGES,
    maxSize: MAX_BYTES,
    sizeCalculation: (response) => BYTES_A_MESSAGE + (response === NO_RESPONSE ? 0 : response.length),
    ttl: REMEMBERED_MS,
    perf: port,
  })
  return {
    of(plan) {
      let known: Map<string, CompletedMessage> | undefined
      for (const part of plan.parts) {
        for (const { key } of part.messages) {
          const found = cache.get(key)
          if (found === undefined) continue
          const response = found === NO_RESPONSE ? null : found
          known = (known ?? new Map<string, CompletedMessage>()).set(key, { key, response })
        }
      }
      return known ?? NONE
    },
    add(messages, retentionMs) {
      const options = retentionMs < REMEMBERED_MS ? { ttl: retentionMs } : undefined
      for (const { key, response } of messages) {
        if (!isFingerprint(key)) cache.set(key, response ?? NO_RESPONSE, options)
      }
    },
  }
}
