/**
 * Counting what happens to every message. Beside the events, because an event is an object with the ids of its messages,
 * and making two of them for each message costs more than counting it.
 */
export type ClaimOutcome = 'acquired' | 'duplicate' | 'in_flight' | 'busy'

/** Who counts. */
export interface Meter {
  /** What became of a claim. `waitedMs`: from the delivery's arrival. */
  claimed(outcome: ClaimOutcome, provider: string, waitedMs: number): void
  /** A lease ended. */
  ended(result: 'completed' | 'failed', provider: string, heldMs: number): void
  /** A delivery is handled without protection. */
  unprotected(provider: string): void
}

/** All who count. */
export interface Meters extends Meter {
  /** Calling what it returns takes it off again. */
  add(meter: Meter): () => void
}

export function createMeters(): Meters {
  let meters: readonly Meter[] = []
  return {
    add(meter) {
      meters = [...meters, meter]
      return () => {
        meters = meters.filter((one) => one !== meter)
      }
    },
    claimed(outcome, provider, waitedMs) {
      for (const meter of meters) meter.claimed(outcome, provider, waitedMs)
    },
    ended(result, provider, heldMs) {
      for (const meter of meters) meter.ended(result, provider, heldMs)
    },
    unprotected(provider) {
      for (const meter of meters) meter.unprotected(provider)
    },
  }
}
