/** The worker of one process: takes sessions that are due, and runs the handler on each, several at a time. */
import { AsyncResource } from 'node:async_hooks'
import { throughConflicts } from '../engine/conflicts.ts'
import type { HandlerResult } from '../engine/delivery.ts'
import { type Engine, requireQueue } from '../engine/engine.ts'
import type { Asked } from '../engine/held-lease.ts'
import { createHold, type HoldKeeper, type LiveHold } from '../engine/hold.ts'
import type { Lease } from '../engine/lease.ts'
import type { PlannedPart } from '../engine/plan.ts'
import { type Timer, within } from '../engine/port.ts'
import { mostMessages, type Taken } from '../store/queue.ts'
import type { Settlement } from '../store/store.ts'
import type { StoreTransaction } from '../store/transactions.ts'
import { inboxMessages, partOf } from './arrivals.ts'
import type { ResolvedInboxOptions } from './options.ts'
import { tellTaken } from './report.ts'
import { NewerMessageError } from './retry.ts'
import { GivenUpError, stepAfter } from './step.ts'

export interface Worker {
  start(): void
  /** Takes no more work, and resolves when what is in hand is settled, or the lock's `closeTimeoutMs` is over. */
  stop(): Promise<void>
  /** There may be work: looks at once. */
  wake(): void
  /** Newer messages have come for these sessions. */
  newer(rowKeys: Iterable<string>): void
  counts(): { running: number; completed: number; retried: number; dead: number }
}

/** For the lock of a session whose row was just taken: somebody who asks directly may have it for a moment. */
const LOCK_WAIT_MS = 500

/** One session in hand. */
interface Run {
  readonly hold: LiveHold
  readonly newer: AbortController
  /** One call takes no more than it has. */
  readonly isFull: boolean
}

export function createWorker(engine: Engine, options: ResolvedInboxOptions): Worker {
  const { port } = engine
  const running = new Map<string, Run>()
  const counts = { completed: 0, retried: 0, dead: 0 }
  const wakeTimers = new Set<Timer>()
  let started = false
  let taking = false
  let wanted = false
  let poll: Timer | undefined
  let largestToken = 0
  let allEnded: (() => void) | undefined
  /** Sessions that are taken, and wait for the beginning of their handler's transaction. */
  let beginning = 0
  /** Sessions that are taken, and go back unhandled. */
  let givingBack = 0
  const limits = { messagesEach: options.messagesEach, lastAttempt: options.maxAttempts }
  const inTransactions = engine.options.strategy === 'transaction'
  const most = inTransactions ? Math.min(options.concurrency, engine.options.maxTransactions) : options.concurrency
  const free = (): number => most - running.size - beginning

  function wake(): void {
    wanted = true
    if (started && !taking && free() > 0) begins()
  }

  // Else handlers would run as if they belonged to the request, or to the handler, that woke the worker.
  const begins = AsyncResource.bind((): void => void takeWork())

  /** What was put off here is due here at its time; what others put off is found by the poll. */
  function wakeIn(afterMs: number): void {
    const timer = port.after(afterMs, () => {
      wakeTimers.delete(timer)
      wake()
    })
    wakeTimers.add(timer)
  }

  function pollLater(): void {
    poll?.cancel()
    if (started) poll = port.after(options.pollMs * (0.75 + port.random() / 2), lookByItself)
  }

  function lookByItself(): void {
    if (options.onNewer === 'abort' && running.size > 0) void lookForNewer()
    wake()
    pollLater()
  }

  async function takeWork(): Promise<void> {
    taking = true
    try {
      while (started && wanted && free() > 0) {
        wanted = false
        const many = free()
        const sentAt = port.now()
        const taken = await takeSome(many)
        if (taken.length === many) wanted = true
        for (const one of taken) {
          if (inTransactions) void beginInTransaction(one, sentAt)
          else begin(one, sentAt)
        }
      }
    } catch (error) {
      // The next poll tries again.
      engine.storeFailed('take queued messages', error)
    }
    taking = false
    tellIfAllEnded()
  }

  async function takeSome(many: number): Promise<Taken[]> {
    const { nodeId, staleAfterMs } = engine.options
    const owners = Array.from({ length: many }, () => port.randomId())
    const queue = requireQueue(await engine.store())
    const wanted = { owners, nodeId, staleAfterMs, tokenAbove: largestToken, ...limits }
    // On a Galera cluster, two nodes that take one session meet at their commits.
    return throughConflicts(port, engine.options.storeTimeoutMs, () => queue.take(wanted))
  }

  /** Its session is given back where the lock is not to be had, or the connection. */
  async function beginInTransaction(taken: Taken, sentAt: number): Promise<void> {
    beginning += 1
    try {
      const rowKeys = taken.claim.parts.flatMap((part) => part.rows.map(({ key }) => key))
      const begun = await (await engine.transactions()).begin(rowKeys, LOCK_WAIT_MS)
      if (begun.held.length === 0 && started) begin(taken, sentAt, begun.transaction)
      else {
        await begun.transaction.rollback()
        giveBack(taken)
      }
    } catch (error) {
      // The next poll tries again.
      engine.storeFailed('begin a transaction', error)
      giveBack(taken)
    }
    beginning -= 1
    tellIfAllEnded()
  }

  /** Also what is being taken or given back: a store that closes first would leave its sessions held. */
  function isIdle(): boolean {
    return running.size + beginning + givingBack === 0 && !taking
  }

  function tellIfAllEnded(): void {
    if (isIdle()) allEnded?.()
  }

  function begin(taken: Taken, sentAt: number, transaction?: StoreTransaction): void {
    largestToken = Math.max(largestToken, taken.fencingToken)
    if (!started) {
      giveBack(taken)
      return
    }
    const part = partOf(taken)
    const rowKey = part.rows[0]?.key as string
    const run: Run = {
      hold: holdOf(taken, part, { sentAt, transaction }, () => ended(rowKey, run)),
      newer: new AbortController(),
      isFull: taken.messages.length >= mostMessages(limits, taken.attempt - 1),
    }
    running.set(rowKey, run)
    engine.handling += 1
    tellTaken(engine, taken, part)
    void handle(taken, run)
  }

  /** What comes next in the session may have been taken before the store's answer to the end of this was here. */
  function ended(rowKey: string, run: Run): void {
    if (running.get(rowKey) === run) running.delete(rowKey)
    engine.handling -= 1
    tellIfAllEnded()
    wake()
  }

  const keeper: HoldKeeper<{ taken: Taken; onEnded: () => void }> = {
    step: ({ taken }, result) => stepAfter(taken, result, options, port.random),
    freed: () => undefined,
    completed: () => undefined,
    ended: ({ onEnded }) => onEnded(),
    settled: (_, settlement) => count(settlement),
  }

  function holdOf(taken: Taken, part: PlannedPart, asked: Omit<Asked, 'claim'>, onEnded: () => void): LiveHold {
    return createHold(engine, {
      claim: taken.claim,
      provider: taken.messages[0]?.provider ?? '',
      acquired: [{ part, fencingToken: taken.fencingToken, takeover: taken.takeover !== null }],
      fresh: part.positions,
      duplicates: [],
      withheld: null,
      ...asked,
      keeper,
      of: { taken, onEnded },
    })
  }

  async function handle(taken: Taken, { hold: live, newer }: Run): Promise<void> {
    const hold = engine.tracing ? engine.tracing.hold(taken.messages[0]?.provider ?? '', live) : live
    const [lease] = hold.leases as [Lease]
    let result: HandlerResult = { status: 'completed' }
    try {
      if (taken.attempt > options.maxAttempts) throw new GivenUpError(taken.attempt - 1)
      const messages = await inboxMessages(taken, options)
      const shown = options.onNewer === 'abort' ? withNewer(lease, newer) : lease
      await hold.within(async () => options.handler(messages, shown))
    } catch (error) {
      result = { status: 'failed', error: newer.signal.aborted ? newer.signal.reason : error }
    }
    await hold.settle(result)
  }

  /** Only what is written counts: a lost lease's messages are handled by somebody else. */
  function count({ step, outcome, messages }: Settlement): void {
    if (step?.next === 'retry') {
      counts.retried += 1
      wakeIn(step.afterMs)
    } else if (outcome === 'completed') counts.completed += messages.length
    else if (step && step.next !== 'give-back') counts.dead += messages.length
  }

  /** Taken when the worker had just stopped. */
  function giveBack(taken: Taken): void {
    givingBack += 1
    const [rows] = taken.claim.parts.map((part) =>
      part.rows.map(({ key }) => ({ key, fencingToken: taken.fencingToken })),
    )
    const { owner, nodeId } = taken.claim
    const settlement = { owner, nodeId, rows: rows ?? [], messages: [], outcome: 'released', retentionMs: 1 } as const
    engine.settlements
      .submit({ ...settlement, step: { next: 'give-back' }, error: null, response: null })
      .catch((error: unknown) => engine.storeFailed('give back queued messages', error))
      .finally(() => {
        givingBack -= 1
        tellIfAllEnded()
      })
  }

  async function lookForNewer(): Promise<void> {
    try {
      const queue = requireQueue(await engine.store())
      const asked = new Map(running)
      const found = await queue.haveMore([...asked.keys()])
      // Of those that have begun since, nobody knows that they have not all of it.
      newer(found.filter((key) => running.get(key) === asked.get(key)))
    } catch (error) {
      engine.log.raw.debug({ err: error }, 'failed to look for newer messages')
    }
  }

  function newer(rowKeys: Iterable<string>): void {
    if (options.onNewer !== 'abort') return
    for (const key of rowKeys) {
      const run = running.get(key)
      // Whoever has as many as one call takes would begin again with the same, for ever.
      if (run && !run.isFull) run.newer.abort(new NewerMessageError())
    }
  }

  return {
    start() {
      started = true
      wake()
      pollLater()
    },
    async stop() {
      started = false
      poll?.cancel()
      for (const timer of wakeTimers) timer.cancel()
      wakeTimers.clear()
      if (isIdle()) return
      const over = new Promise<void>((resolve) => (allEnded = resolve))
      await within(port, engine.options.closeTimeoutMs, over)
    },
    wake,
    newer,
    counts: () => ({ running: running.size, ...counts }),
  }
}

/** The lease, whose signal also aborts when the handler is to start again with newer messages. */
function withNewer(lease: Lease, newer: AbortController): Lease {
  const { name, prospect, device, messageIds, owner, fencingToken, takeover, tx, signal } = lease
  const either = AbortSignal.any([signal, newer.signal])
  return { name, prospect, device, messageIds, owner, fencingToken, takeover, tx, signal: either }
}
