/** The clean-up: what is no longer remembered goes, a little at a time, on one node at a time. */
import type { Claim, CleanupReport, Store } from '../store/store.ts'
import { throughConflicts } from './conflicts.ts'
import type { Engine } from './engine.ts'

/** How a clean-up goes about its work. */
interface Pace {
  /** The first batches are of so many rows. */
  readonly least: number
  /**
   * Then they are of as many as take about this long, in which whoever waits for them notices little. What any call
   * takes, however few they are, is not counted: many small ones would have the database commit all the more.
   */
  readonly takesMs: number
  /** The rest after a batch, of what that took: so the database has most of its attention for the bots. */
  readonly rests: number
}

const BESIDE: Pace = { least: 20, takesMs: 2, rests: 6 }
/** Where nothing else in this process goes on during a batch, all of the bot waits for it. */
const IN_THREAD: Pace = { least: 2, takesMs: 0.25, rests: 15 }
const MOST_ROWS = 500
/** So many of one size, of which the quickest tells: the others may have waited for something else. */
const ALIKE = 8
/** What takes longer may never come to its end that way: after one such time it rests half as long, after two a third. */
const PATIENCE_MS = 3_600_000

/** The row of the session table that a node holds while it cleans up. No session of a bot has such a key. */
export const CLEANING_KEY = 'c:8:clean-up'

/** How much was removed. */
export type Removed = Omit<CleanupReport, 'more'>

/**
 * Removes expired messages, and rows abandoned for longer than `maxHoldMs`.
 *
 * @param rest - called after each batch with how long to rest. It tells whether to go on.
 */
export async function cleanUp(
  { port, options }: Engine,
  store: Store,
  rest: (forMs: number) => Promise<boolean>,
): Promise<Removed> {
  const removed = { messages: 0, sessions: 0 }
  const startedAt = port.now()
  const pace = store.inThread === true ? IN_THREAD : BESIDE
  let limit = pace.least
  let leastMs = Number.POSITIVE_INFINITY
  let alike: number[] = []
  for (;;) {
    const begunAt = port.now()
    const limits = { abandonedAfterMs: options.maxHoldMs, limit }
    const batch = await throughConflicts(port, options.storeTimeoutMs, () => store.cleanup(limits))
    removed.messages += batch.messages
    removed.sessions += batch.sessions
    if (!batch.more) return removed
    const tookMs = port.now() - begunAt
    alike.push(tookMs)
    if (alike.length === ALIKE) {
      const quickestMs = Math.min(...alike)
      leastMs = Math.min(leastMs, quickestMs)
      limit = nextLimit(pace, limit, quickestMs - leastMs)
      alike = []
    }
    const rests = pace.rests / (1 + (port.now() - startedAt) / PATIENCE_MS)
    if (!(await rest(tookMs * rests))) return removed
  }
}

/** Goes to the right number by steps. */
function nextLimit({ least, takesMs }: Pace, limit: number, rowsTookMs: number): number {
  const factor = takesMs / Math.min(Math.max(rowsTookMs, takesMs / 2), takesMs * 2)
  return Math.min(Math.max(Math.round(limit * factor), least), MOST_ROWS)
}

/**
 * Cleans up every `cleanupEveryMs`, at times that several nodes do not share, unless another node does so just then.
 *
 * @returns what stops it; fulfilled when nothing of it is under way
 */
export function cleanRegularly(engine: Engine): () => Promise<void> {
  const { port, options, log } = engine
  let stopped = false
  let cleaning: Promise<void> | undefined
  let wake = (): void => {}

  const next = (): void => {
    if (stopped || options.cleanupEveryMs === 0) return
    port.after(options.cleanupEveryMs * (0.5 + port.random()), () => {
      if (stopped) return
      cleaning = cleanOnce().finally(next)
    })
  }

  /** Keeps no process alive, so whoever stops it must not wait for its end. */
  function pause(forMs: number): Promise<void> {
    return new Promise((resolve) => {
      wake = resolve
      port.after(forMs, resolve)
    })
  }

  async function cleanOnce(): Promise<void> {
    try {
      const store = await engine.store()
      const removed = await alone(engine, (isStillMine) =>
        cleanUp(engine, store, async (forMs) => {
          await pause(forMs)
          return !stopped && isStillMine()
        }),
      )
      if (removed && removed.messages + removed.sessions > 0) log.raw.debug(removed, 'cleaned up')
    } catch (error) {
      engine.storeFailed('clean up', error)
    }
  }

  next()
  return async () => {
    stopped = true
    wake()
    await cleaning
  }
}

/** Does the work while this node holds the row of the clean-up; undefined where another node does. */
async function alone<Value>(
  { port, options, claims, renewals, settlements }: Engine,
  work: (isStillMine: () => Promise<boolean>) => Promise<Value>,
): Promise<Value | undefined> {
  const { nodeId, staleAfterMs } = options
  const owner = port.randomId()
  const asking: Claim = {
    owner,
    nodeId,
    parts: [{ rows: [{ key: CLEANING_KEY, prospect: null, device: null }], messages: [] }],
    whole: true,
    staleAfterMs,
    tokenAbove: 0,
  }
  const [part] = await claims.submit(asking)
  if (part?.outcome !== 'acquired') return undefined
  const rows = [{ key: CLEANING_KEY, fencingToken: part.fencingToken }]
  let renewedAt = port.now()

  async function isStillMine(): Promise<boolean> {
    if (port.now() - renewedAt < staleAfterMs / 3) return true
    renewedAt = port.now()
    const [isRenewed] = await renewals.submit({ owner, rows, staleAfterMs })
    return isRenewed === true
  }

  try {
    return await work(isStillMine)
  } finally {
    const ended = { messages: [], retentionMs: 0, error: null, response: null } as const
    await settlements.submit({ owner, nodeId, rows, outcome: 'released', ...ended })
  }
}
