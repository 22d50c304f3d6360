/** The suite's door: runs every check on fresh tables, under the caller's test runner. */
import { randomBytes, randomInt } from 'node:crypto'
import type { Store, StoreSettings } from '../store/store.ts'
import { batchChecks } from './batches.ts'
import { claimChecks } from './claims.ts'
import { cleanupChecks } from './cleanup.ts'
import { collisionChecks } from './collisions.ts'
import { keyChecks } from './keys.ts'
import { lifecycleChecks } from './lifecycle.ts'
import { lookInsideChecks } from './look-inside.ts'
import { optionalChecks } from './optional.ts'
import { queueChecks } from './queue.ts'
import { queueKeepingChecks } from './queue-keeping.ts'
import { queueRaceChecks } from './queue-races.ts'
import { raceChecks } from './races.ts'
import { renewChecks } from './renewals.ts'
import { retryChecks } from './retries.ts'
import { settleChecks } from './settlements.ts'
import { takeoverChecks } from './takeovers.ts'
import { trafficChecks } from './traffic.ts'
import { patient, seededRandom } from './waiting.ts'
import type { Check, World } from './world.ts'

/** What the suite needs of the author of a store. */
export interface ConformanceOptions {
  /** The store's name, in front of every test's name. */
  readonly name: string
  /** `test` of vitest, `node:test` or the like. A few tests run for seconds: give each 60 s. */
  readonly test: (name: string, run: () => Promise<void>) => unknown
  /**
   * Opens a fresh handle, as one more process would: handles opened with the same `tablePrefix`
   * share their tables. The suite migrates and closes what it opens, and drops nothing: each test
   * has a prefix of its own, so that a database to throw away serves best.
   */
  readonly openStore: (settings: StoreSettings) => Promise<Store>
  /** true: the store has a durable queue, whose promises are tested too. */
  readonly queue?: boolean
  /** What the random tests start from; a failure prints it. Default: another one in each run. */
  readonly seed?: number
}

const CHECKS: readonly Check[] = [
  ...lifecycleChecks,
  ...claimChecks,
  ...takeoverChecks,
  ...renewChecks,
  ...settleChecks,
  ...keyChecks,
  ...batchChecks,
  ...lookInsideChecks,
  ...cleanupChecks,
  ...optionalChecks,
  ...collisionChecks,
  ...raceChecks,
  ...trafficChecks,
]

const QUEUE_CHECKS: readonly Check[] = [...queueChecks, ...retryChecks, ...queueKeepingChecks, ...queueRaceChecks]

/**
 * Defines one test for each promise of the store contract.
 *
 * @example
 * import { test } from 'node:test'
 * import { storeConformance } from 'session-lock/testing'
 *
 * storeConformance({ name: 'my store', test, openStore: (settings) => openMyStore(url, settings) })
 */
export function storeConformance(options: ConformanceOptions): void {
  const seed = options.seed ?? randomInt(2 ** 31)
  for (const check of options.queue ? [...CHECKS, ...QUEUE_CHECKS] : CHECKS) {
    options.test(`${options.name}: ${check.promise}`, () => runCheck(check, options, seed))
  }
}

const TIMEOUT_MS = 10_000

async function runCheck(check: Check, options: ConformanceOptions, seed: number): Promise<void> {
  const opened: Promise<Store>[] = []
  const settings = { tablePrefix: `t${randomBytes(6).toString('hex')}_`, timeoutMs: TIMEOUT_MS }
  const openUnprepared = () => {
    const opening = options.openStore(settings)
    opened.push(opening)
    return opening
  }
  const open = async () => {
    const store = await openUnprepared()
    await store.migrate()
    return patient(store)
  }
  const world: World = { open, openUnprepared, random: seededRandom(seed) }
  const closeAll = () => Promise.allSettled(opened.map(async (opening) => (await opening).close()))
  try {
    await check.run(world)
  } catch (error) {
    await closeAll()
    throw withSeed(error, seed)
  }
  for (const closing of await closeAll()) if (closing.status === 'rejected') throw closing.reason
}

/** Some test runners show an error by its message, others by its stack. */
function withSeed(error: unknown, seed: number): unknown {
  if (!(error instanceof Error)) return error
  const hint = `\n(seed ${seed}; storeConformance takes it as the option "seed")`
  const stack = error.stack?.replace(error.message, () => error.message + hint)
  error.message += hint
  if (stack) error.stack = stack
  return error
}
