/** What this node did in the last ten minutes, for the small charts. */
import { listenTo } from '../engine/events.ts'
import { requireEngine, type SessionLock } from '../engine/lock.ts'

const BUCKETS = 60
const BUCKET_MS = 10_000

/** What is counted. */
export const OUTCOMES = ['acquired', 'duplicates', 'busy', 'takeovers', 'failed'] as const
export type Outcome = (typeof OUTCOMES)[number]

export interface Recorder {
  /** How often, in each ten seconds of the last ten minutes, the oldest first. */
  recent(outcome: Outcome): readonly number[]
  stop(): void
}

export function record(lock: SessionLock): Recorder {
  const counts = new Map(OUTCOMES.map((outcome) => [outcome, new Array<number>(BUCKETS).fill(0)]))
  let current = bucketNow()

  /** Empties what has become too old. */
  function advance(): void {
    const now = bucketNow()
    for (const list of counts.values()) {
      for (let bucket = Math.max(current + 1, now - BUCKETS + 1); bucket <= now; bucket += 1) list[bucket % BUCKETS] = 0
    }
    current = now
  }

  function note(outcome: Outcome): void {
    advance()
    const list = counts.get(outcome)
    if (list) list[current % BUCKETS] = (list[current % BUCKETS] ?? 0) + 1
  }

  const stopMeter = requireEngine(lock).meters.add({
    claimed: (outcome) => note(outcome === 'acquired' || outcome === 'busy' ? outcome : 'duplicates'),
    ended(result) {
      if (result === 'failed') note('failed')
    },
    unprotected: () => undefined,
  })
  const stopListening = listenTo(lock, { takeover: () => note('takeovers') })
  return {
    recent(outcome) {
      advance()
      const list = counts.get(outcome) ?? []
      return list.map((_, index) => list[(current + 1 + index) % BUCKETS] ?? 0)
    },
    stop() {
      stopMeter()
      stopListening()
    },
  }
}

function bucketNow(): number {
  return Math.floor(performance.now() / BUCKET_MS)
}
