/** Conflicts: a transaction that met another one was undone whole, and is tried again after a moment. */
import { StoreError } from '../store/store.ts'
import { type Port, pause } from './port.ts'

/** The longest rest between two tries. */
const MAX_REST_MS = 50

/** How long to rest after so many conflicts: by chance, so that two who met do not meet again in step. */
export function restMs(port: Port, conflicts: number): number {
  return port.random() * Math.min(2 ** conflicts, MAX_REST_MS)
}

/** The error after too many of them. */
export function gaveUp(conflicts: number, last: StoreError): StoreError {
  const { message, answerLost } = last
  const text = `session-lock: gave up after ${conflicts} conflicts: ${message}`
  return new StoreError('unreachable', text, { cause: last, answerLost })
}

/** Repeats a call of the store that is in no batch while it ends in conflicts, for at most this long. */
export async function throughConflicts<Value>(port: Port, forMs: number, call: () => Promise<Value>): Promise<Value> {
  const until = port.now() + forMs
  for (let conflicts = 1; ; conflicts += 1) {
    try {
      return await call()
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== 'conflict') throw error
      if (port.now() > until) throw gaveUp(conflicts, error)
    }
    await pause(port, restMs(port, conflicts))
  }
}
