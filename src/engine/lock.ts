/** A lock: the engine behind every middleware, and what a program calls directly. */
import cluster from 'node:cluster'
import type { Logger } from 'pino'
import type { TransactionClient } from '../store/transactions.ts'
import { createClaims } from './claims.ts'
import { cleanRegularly } from './cleaning.ts'
import type { Delivery, DeliveryOutcome } from './delivery.ts'
import { createEngine, type Engine } from './engine.ts'
import { KeyError, OptionsError } from './errors.ts'
import type { EventName, Listener } from './events.ts'
import { createInspection, type Inspection } from './inspection.ts'
import type { Lease } from './lease.ts'
import { isBoolean, isFunction, isRecord, milliseconds, type OptionCheck, requireOptions } from './option-checks.ts'
import { type ResolvedOptions, resolveOptions, type SessionLockOptions } from './options.ts'
import { deliveryOf, type RunKey } from './plan.ts'
import { nodePort, type Port } from './port.ts'
import type { OutcomeCounts } from './report.ts'
import { trackHandlers } from './running.ts'
import { createSteering, type Steering } from './steering.ts'

/** What `lock.run` resolves to. */
export type RunResult<Value> =
  /** The work was done. `takeover`: a crashed or hung holder may have done part of it before. */
  | { readonly status: 'processed'; readonly value: Value; readonly takeover: boolean }
  /** The message is handled already (`response`: what was stored with it), or somebody still handles it. */
  | {
      readonly status: 'duplicate'
      readonly of: 'completed' | 'in_flight'
      readonly response?: Uint8Array
      readonly retryAfterMs?: number
    }
  /** A different message holds the session. */
  | { readonly status: 'busy'; readonly retryAfterMs: number }

/**
 * A lock over one store. Make it with {@link createSessionLock}. `Tx`: what `lease.tx` is, where the strategy is
 * `transaction`.
 */
export interface SessionLock<Tx = TransactionClient | undefined> extends Inspection, Steering {
  /** The options with every default filled in. */
  readonly options: ResolvedOptions
  readonly log: Logger
  /**
   * Runs `work` once for a message, alone in its session, and remembers that it was done.
   *
   * @param key - `{ messageId, prospect, device }`; a message alone `{ messageId }`; a session alone
   *   `{ prospect, device }` or `{ session }`.
   * @throws what `work` throws, after the message is marked failed; why its transaction was not committed
   *   (strategy `transaction`), likewise; {@link KeyError} for ids of wrong type or size; {@link StoreError}
   *   where the store cannot be reached; {@link ReentryError}; {@link ClosedError}; {@link OptionsError} for no work
   *   and for what is unknown or impossible in the options.
   * @example
   * const result = await lock.run({ messageId: 'm1', prospect: '4917', device: 'bot' }, async (lease) => {
   *   return answer(lease.signal)
   * })
   * if (result.status === 'busy') retryIn(result.retryAfterMs)
   * @example
   * await lock.run({ session: 'nightly' }, report, { lockWaitMs: 600_000, signal: AbortSignal.timeout(60_000) })
   */
  run<Value>(
    key: RunKey,
    work: (lease: Lease<Tx>) => Promise<Value> | Value,
    options?: WaitOptions,
  ): Promise<RunResult<Value>>
  /** Claims a whole delivery: what the middleware of every framework is built on. */
  claim(delivery: Delivery, options?: WaitOptions): Promise<DeliveryOutcome>
  /** What this node has done, and how much it has in hand; asks nobody. */
  counts(): OutcomeCounts & { readonly waiting: number; readonly holding: number }
  /** Opens the store and makes its tables now, rather than at the first claim. Rejects with a {@link StoreError}. */
  ready(): Promise<void>
  /** @throws {@link OptionsError} where there is no such event; so does `off`. */
  on<Name extends EventName>(name: Name, listener: Listener<Name>): SessionLock
  off<Name extends EventName>(name: Name, listener: Listener<Name>): SessionLock
  /**
   * Takes no more claims, refuses those that wait, lets handlers finish for up to `closeTimeoutMs`,
   * and closes the store where this lock opened it. Leases of handlers that run on are left to run out.
   */
  close(): Promise<void>
}

export interface WaitOptions {
  /** Overrides the lock's `lockWaitMs` for this claim. */
  readonly lockWaitMs?: number | undefined
  /**
   * Where the store has not answered by then, the claim is refused with a {@link StoreError} rather than
   * waited for, and what it gets after all is given back. For providers with a deadline.
   */
  readonly answerWithinMs?: number | undefined
  /**
   * Once it aborts, the claim waits no longer and rejects with the signal's reason; what the store grants it after all
   * is given back. It changes nothing for a handler that runs: what stops that is the signal of its lease.
   */
  readonly signal?: AbortSignal | undefined
}

const WAIT_CHECKS: Readonly<Record<keyof WaitOptions, OptionCheck>> = {
  lockWaitMs: milliseconds(0),
  answerWithinMs: milliseconds(0),
  // A polyfill's is as good.
  signal: [(value) => isRecord(value) && isBoolean(value['aborted']), 'takes the signal of an AbortController'],
}

/**
 * Makes a lock. Nothing is opened until the first claim, or `ready()`.
 *
 * @throws {@link OptionsError} naming the option that is unknown or impossible.
 * @example
 * const lock = createSessionLock({ store: 'sqlite:./bot.db' })
 * app.use('/webhook', express.json(), sessionLock(lock))
 * @example
 * const lock = createSessionLock<Connection>({ store: 'mysql://…', strategy: 'transaction' })
 * await lock.run(key, (lease) => lease.tx.query('UPDATE accounts SET balance = balance + 1 WHERE id = ?', [id]))
 */
export function createSessionLock<Tx = TransactionClient>(
  options: SessionLockOptions & { readonly strategy: 'transaction' },
): SessionLock<Tx>
export function createSessionLock(
  options?: SessionLockOptions & { readonly strategy?: 'lease' | undefined },
): SessionLock<undefined>
export function createSessionLock(options?: SessionLockOptions): SessionLock
export function createSessionLock(options: SessionLockOptions = {}): SessionLock {
  trackHandlers()
  return createLock(options)
}

/** For a middleware of its own: no handler has this lock in hands, unless {@link trackHandlers} is called. */
export function createLock(options: SessionLockOptions, port: Port = nodePort): SessionLock {
  const resolved = resolveOptions(options, port)
  const engine = createEngine(resolved)
  const claims = createClaims(engine)
  warnOfMemory(engine)
  const stopCleaning = cleanRegularly(engine)
  let closing: Promise<void> | undefined

  async function close(): Promise<void> {
    claims.stop()
    const cleaningStopped = stopCleaning()
    await new Promise<void>((resolve) => {
      const limit = resolved.port.after(resolved.closeTimeoutMs, resolve, 'awaited')
      void claims.allEnded().then(() => {
        limit.cancel()
        resolve()
      })
    })
    const left = claims.counts().holding
    if (left > 0)
      resolved.logger.warn(
        { node: resolved.nodeId, left },
        'failed to finish every handler before close; their leases run out',
      )
    await cleaningStopped
    await engine.close()
  }

  async function run<Value>(
    key: RunKey,
    work: (lease: Lease) => Promise<Value> | Value,
    wait: WaitOptions = {},
  ): Promise<RunResult<Value>> {
    if (!isFunction(work)) throw new OptionsError('work', 'takes a function (lease) => value')
    requireOptions(wait, WAIT_CHECKS, 'wait')
    const outcome = await lock.claim(deliveryOf(key), wait)
    if (outcome.outcome === 'unkeyed') {
      throw new KeyError('key', 'names nothing: give messageId, or prospect (and device), or session')
    }
    if (outcome.outcome === 'busy') return { status: 'busy', retryAfterMs: outcome.retryAfterMs }
    if (outcome.outcome === 'duplicate') {
      if (outcome.of === 'in_flight')
        return { status: 'duplicate', of: 'in_flight', retryAfterMs: outcome.retryAfterMs }
      return { status: 'duplicate', of: 'completed', ...(outcome.response && { response: outcome.response }) }
    }
    const { hold } = outcome
    const lease = hold.leases[0] ?? unprotectedLease(key, hold.signal)
    let value: Value
    try {
      value = await hold.within(async () => work(lease))
    } catch (error) {
      await hold.settle({ status: 'failed', error })
      throw error
    }
    await hold.settle({ status: 'completed' })
    if (hold.rolledBack) throw hold.rolledBack
    return { status: 'processed', value, takeover: lease.takeover }
  }

  const lock: SessionLock = {
    options: resolved,
    log: resolved.logger,
    run,
    claim(delivery, { lockWaitMs = resolved.lockWaitMs, answerWithinMs, signal } = {}) {
      const patience = { lockWaitMs, answerWithinMs, signal }
      if (!engine.tracing) return claims.claim(delivery, patience)
      return engine.tracing.claim(delivery.provider, () => claims.claim(delivery, patience))
    },
    counts: claims.counts,
    ready: async () => void (await engine.store()),
    ...createInspection(engine, claims),
    ...createSteering(engine),
    on(name, listener) {
      engine.events.on(name, listener)
      return lock
    },
    off(name, listener) {
      engine.events.off(name, listener)
      return lock
    },
    close() {
      closing ??= close()
      return closing
    },
  }
  engines.set(lock, engine)
  return lock
}

const engines = new WeakMap<object, Engine>()

/** What is behind a lock; undefined for what was made elsewhere. */
export function engineOf(lock: SessionLock): Engine | undefined {
  return engines.get(lock)
}

/** What is behind a lock. Throws an {@link OptionsError} for what was made elsewhere. */
export function requireEngine<Tx>(lock: SessionLock<Tx>): Engine {
  const engine = engines.get(lock)
  if (engine) return engine
  throw new OptionsError('lock', 'takes a lock made by createSessionLock()')
}

/** Handled without a lease (`onStoreError: 'allow'`): the handler sees one that protects nothing. */
function unprotectedLease(key: RunKey, signal: AbortSignal): Lease {
  return {
    name: key.session ?? key.prospect ?? key.messageId ?? '',
    prospect: key.prospect ?? null,
    device: key.device ?? null,
    messageIds: key.messageId === undefined ? [] : [key.messageId],
    owner: '',
    fencingToken: 0,
    takeover: false,
    tx: undefined,
    signal,
  }
}

/** The memory store protects one process only; one that knows it is not alone says so loudly. */
function warnOfMemory({ options, log }: Engine): void {
  if (typeof options.store !== 'string' || !/^(memory:|sqlite::memory:)/.test(options.store)) return
  const { env } = process
  const manager = cluster.isWorker
    ? 'node:cluster'
    : env['pm_id'] !== undefined || env['NODE_APP_INSTANCE'] !== undefined
      ? 'a process manager'
      : undefined
  if (manager !== undefined) {
    log.raw.error(
      { node: options.nodeId },
      `THE MEMORY STORE DOES NOT PROTECT SEVERAL PROCESSES, and this one runs under ${manager}: duplicates will get through. ` +
        'Set SESSION_LOCK_URL or the option "store" to a database, for example sqlite:./session-lock.db',
    )
  } else if (options.storeIsDefault) {
    log.raw.warn(
      { node: options.nodeId },
      'no store is set: leases and handled messages are kept in memory, for this process only, and are forgotten at exit. ' +
        'Set SESSION_LOCK_URL or the option "store", for example sqlite:./session-lock.db',
    )
  }
}
