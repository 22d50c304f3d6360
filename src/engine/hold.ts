/**
 * A hold: what one claim has acquired, from the verdict to the settlement. It renews its leases
 * while the handler runs, tells the handler when one is lost, and settles them at the end.
 */

import type { QueueStep } from '../store/queue.ts'
import { type CompletedMessage, type Settlement, type SettlementVerdict, StoreError } from '../store/store.ts'
import type { StoreTransaction } from '../store/transactions.ts'
import type { Receiver } from './batches.ts'
import { commit } from './commit.ts'
import type { HandlerResult, Hold, SettleResult, Withheld } from './delivery.ts'
import type { Engine } from './engine.ts'
import { LeaseLostError, type Loss, messageOf } from './errors.ts'
import type { Beating } from './heart.ts'
import { type Acquired, type Asked, HeldLease, type LeaseHolder } from './held-lease.ts'
import type { LogSubject } from './log.ts'
import type { PlannedPart } from './plan.ts'
import { pause } from './port.ts'
import { runWithin } from './running.ts'
import { positions, type Turn } from './turn.ts'

/** How much earlier than the store a handler takes its lease for expired, at most. */
const MOST_EARLY_MS = 250

/** One for many holds: closures of its own for each would cost more than the claim. */
export interface HoldKeeper<Of> {
  /**
   * A lease has ended or is lost: its rows and messages are free for the next in this process, or, where it is
   * contended, also for another process that waits for them.
   */
  freed(of: Of, part: PlannedPart, contended: boolean): void
  /** Messages are settled as completed: whoever waits with the same message is answered. */
  completed(messages: readonly CompletedMessage[]): void
  /** Nothing more will be tried for one of the leases: it is settled, lost or given up. */
  ended(of: Of): void
  /** The store has written this settlement. */
  settled?(of: Of, settlement: Settlement): void
  /** Set where the messages came out of the queue: what becomes of them there, by the handler's result. */
  step?(of: Of, result: HandlerResult): { readonly step: QueueStep; readonly retentionMs: number }
}

export interface HoldInput<Of> extends Asked {
  readonly provider: string
  readonly acquired: readonly Acquired[]
  readonly fresh: readonly number[]
  readonly duplicates: readonly number[]
  readonly withheld: Withheld | null
  /** Who is told what becomes of the leases, and of what. */
  readonly keeper: HoldKeeper<Of>
  readonly of: Of
}

/** Also what re-entry is recognised by: which rows are in these hands. */
export interface LiveHold extends Hold {
  /** Has its handler ended? */
  readonly isOver: boolean
  /** The name of the live lease that holds this row, if one does. */
  holds(rowKey: string): string | undefined
}

/** A class, as closures of its own for each message would cost more than the claim. */
class HeldLeases implements LiveHold, LeaseHolder, Beating {
  readonly leases: readonly HeldLease[]
  rolledBack: Error | undefined
  readonly #engine: Engine
  readonly #input: HoldInput<unknown>
  readonly #acquiredAt: number
  #expiresAt = 0
  #renewAt = 0
  #renewing = false
  #result: HandlerResult | undefined
  #settling: Promise<SettleResult> | undefined
  /** How many leases have not been settled yet, and what became of the others. */
  #unsettledLeases = 0
  #worst: SettleResult = 'settled'
  #markSettled: ((result: SettleResult) => void) | undefined
  #markLeasesSettled: (() => void) | undefined
  #signal: AbortSignal | undefined

  constructor(engine: Engine, input: HoldInput<unknown>) {
    this.leases = input.acquired.map((one) => new HeldLease(this, one, input))
    this.#engine = engine
    this.#input = input
    this.#acquiredAt = engine.port.now()
    this.#givenSince(input.sentAt)
    if (this.leases.length > 0) engine.heart.add(this)
    void input.transaction?.lost.then(() => {
      if (!this.#result) this.#loseAll('connection')
    })
  }

  get fresh(): readonly number[] {
    return this.#input.fresh
  }
  get duplicates(): readonly number[] {
    return this.#input.duplicates
  }
  get withheld(): Withheld | null {
    return this.#input.withheld
  }
  get fencingToken(): number {
    let largest = 0
    for (const lease of this.leases) largest = Math.max(largest, lease.fencingToken)
    return largest
  }
  get signal(): AbortSignal {
    const [first, second] = this.leases
    this.#signal ??= first && !second ? first.signal : AbortSignal.any(this.leases.map((lease) => lease.signal))
    return this.#signal
  }

  get isOver(): boolean {
    return this.#result !== undefined
  }

  within<Result>(work: () => Result): Result {
    return runWithin(this, work)
  }

  holds(rowKey: string): string | undefined {
    if (this.isOver) return undefined
    return this.leases.find((lease) => !lease.lost && lease.rows.some((row) => row.key === rowKey))?.name
  }

  settle(result: HandlerResult): Promise<SettleResult> {
    this.end(result)
    this.#settling ??= new Promise((resolve) => {
      if (this.#unsettledLeases === 0) resolve(this.#worst)
      else this.#markSettled = resolve
    })
    return this.#settling
  }

  end(result: HandlerResult): void {
    if (this.#result) return
    this.#result = result
    this.#unsettledLeases = this.leases.length
    this.#engine.heart.remove(this)
    const { transaction } = this.#input
    if (!transaction) {
      this.#settleLeases(result)
      return
    }
    // It counts as one more: only when it is over, too, is all of it settled.
    this.#unsettledLeases += 1
    void this.#endTransaction(transaction, result).then(() => this.#note('settled'))
  }

  #settleLeases(result: HandlerResult): void {
    for (const lease of this.leases) {
      lease.settlement = this.#settlementOf(lease, result)
      this.#engine.settlements.send(lease.settlement, SETTLER, lease)
    }
  }

  #subjectOf(...leases: readonly HeldLease[]): LogSubject {
    const messageIds = leases.flatMap((lease) => lease.messageIds)
    return { names: leases.map((lease) => lease.name), messageIds, owner: this.#input.claim.owner }
  }

  #eventOf({ prospect, device, messageIds, owner }: HeldLease) {
    return { provider: this.#input.provider, prospect, device, messageIds, owner, nodeId: this.#engine.options.nodeId }
  }

  #loseAll(loss: Loss): void {
    for (const lease of this.leases) if (!lease.lost) this.#lose(lease, loss)
  }

  #lose(lease: HeldLease, loss: Loss): void {
    lease.lose(new LeaseLostError(loss))
    this.#engine.log.lost(this.#subjectOf(lease), loss)
    const { events } = this.#engine
    if (events.isHeard('lease_lost')) events.emit('lease_lost', { ...this.#eventOf(lease), loss })
    this.#input.keeper.freed(this.#input.of, lease.part, false)
    if (!this.#input.transaction) return
    // What the handler writes can no longer be committed; and whoever waits for its locks is to have them.
    this.#input.transaction.cut()
    this.#loseAll('connection')
  }

  #isAnyLive(): boolean {
    return this.leases.some((lease) => !lease.lost)
  }

  /** The store has given the leases, or renewed them, by a call that was sent then. */
  #givenSince(sentAt: number): void {
    const { staleAfterMs } = this.#engine.options
    // Somebody else may start the very millisecond they are stale, and timers are late: the handler is told before.
    this.#expiresAt = sentAt + staleAfterMs - Math.min(staleAfterMs / 20, MOST_EARLY_MS)
    this.#renewAt = sentAt + staleAfterMs / 3
  }

  /** Whatever comes first of renewal, expiry and `maxHoldMs`. */
  get dueAt(): number {
    const { renew, maxHoldMs } = this.#engine.options
    const renewAt = renew && !this.#renewing ? this.#renewAt : Number.POSITIVE_INFINITY
    return Math.min(renewAt, this.#expiresAt, this.#acquiredAt + maxHoldMs)
  }

  beat(now: number, soon: number): void {
    const { heart, options } = this.#engine
    const isTooLong = now >= this.#acquiredAt + options.maxHoldMs
    const loss = now >= this.#expiresAt ? 'expired' : isTooLong ? 'max_hold' : undefined
    if (loss) this.#loseAll(loss)
    // Also where all were lost before, with the connection of their transaction.
    if (!this.#isAnyLive()) heart.remove(this)
    else if (options.renew && !this.#renewing && soon >= this.#renewAt) void this.#renew(now)
  }

  async #renew(sentAt: number): Promise<void> {
    const { port, options, renewals, heart } = this.#engine
    const { staleAfterMs } = options
    const { owner } = this.#input.claim
    const held = this.leases.filter((lease) => !lease.lost)
    const rows = held.flatMap((lease) => lease.rows)
    this.#renewing = true
    try {
      const verdict = await renewals.submit({ owner, rows, staleAfterMs })
      if (this.#result) return
      const refused = new Set(rows.filter((_, index) => !verdict[index]).map((row) => row.key))
      for (const lease of held) {
        if (!lease.lost && lease.rows.some((row) => refused.has(row.key))) this.#lose(lease, 'refused')
      }
      this.#givenSince(sentAt)
    } catch (error) {
      this.#engine.storeFailed('renew a lease', error, this.#subjectOf(...held))
      this.#renewAt = port.now() + staleAfterMs / 15
    }
    this.#renewing = false
    heart.remove(this)
    if (!this.#result && this.#isAnyLive()) heart.add(this)
  }

  /** Success is settled within it; anything else while its locks are still held, so that nobody need take over. */
  async #endTransaction(transaction: StoreTransaction, result: HandlerResult): Promise<void> {
    if (result.status === 'completed') {
      this.rolledBack = await this.#commit(transaction)
      if (!this.rolledBack) return
    }
    const error = this.rolledBack ?? (result.status === 'failed' && result.error)
    this.#result = { status: 'failed', error }
    await new Promise<void>((resolve) => {
      this.#markLeasesSettled = resolve
      this.#settleLeases(this.#result as HandlerResult)
    })
    await transaction.rollback()
  }

  /** Why it was not committed; undefined where it was. */
  async #commit(transaction: StoreTransaction): Promise<Error | undefined> {
    const lost = this.leases.find((lease) => lease.lost)?.lost
    if (lost) return lost
    for (const lease of this.leases) lease.settlement = this.#settlementOf(lease, this.#result as HandlerResult)
    const settlements = this.leases.map((lease) => lease.settlement as Settlement)
    const committed = await commit(this.#engine, transaction, settlements)
    if ('failure' in committed) return committed.failure
    this.leases.forEach((lease, index) => {
      this.settled(lease, committed.verdicts[index] as SettlementVerdict, false)
    })
    return undefined
  }

  settled(lease: HeldLease, verdict: SettlementVerdict, isRepeated: boolean): void {
    const settled = this.#conclude(lease, isRepeated ? this.#afterRepeat(lease, verdict) : verdict)
    this.#input.keeper.ended(this.#input.of)
    this.#note(settled)
  }

  unsettled(lease: HeldLease, error: unknown): void {
    this.#engine.storeFailed('settle a lease', error, this.#subjectOf(lease))
    // What the database refuses to write once it refuses again: then at least the session is free.
    const isRefused = error instanceof StoreError && error.kind === 'data'
    if (isRefused) lease.settlement = { ...(lease.settlement as Settlement), messages: [], outcome: 'released' }
    void this.#settleLater(lease).finally(() => this.#input.keeper.ended(this.#input.of))
    this.#note('unsettled')
  }

  #note(settled: SettleResult): void {
    if (settled === 'unsettled' || this.#worst === 'settled') this.#worst = settled
    this.#unsettledLeases -= 1
    if (this.#unsettledLeases === 1) this.#markLeasesSettled?.()
    if (this.#unsettledLeases === 0) this.#markSettled?.(this.#worst)
  }

  /**
   * The store is down while a handler has finished: an expired lease that nobody took can still be
   * settled, so it is tried until `maxHoldMs` is over. Meanwhile the line moves on when the lease runs out.
   */
  async #settleLater(lease: HeldLease): Promise<void> {
    const { port, options, settlements, log, isClosed } = this.#engine
    const settlement = lease.settlement as Settlement
    const until = port.now() + options.maxHoldMs
    for (let waitMs = 50; port.now() < until && !isClosed(); waitMs = Math.min(waitMs * 2, 2000)) {
      await pause(port, waitMs)
      if (!lease.lost && port.now() >= this.#expiresAt) this.#lose(lease, 'expired')
      try {
        this.#conclude(lease, this.#afterRepeat(lease, await settlements.submit(settlement)))
        return
      } catch (error) {
        log.raw.debug({ err: error, owner: lease.owner }, 'failed to settle a lease; trying again')
      }
    }
    if (!lease.lost) this.#lose(lease, 'expired')
  }

  #settlementOf(lease: HeldLease, result: HandlerResult): Settlement {
    const { nodeId, retentionMs } = this.#engine.options
    const { keeper, of } = this.#input
    const { messages } = lease.part
    const isFailed = result.status === 'failed'
    const settlement: Settlement = {
      retentionMs,
      owner: lease.owner,
      nodeId,
      rows: lease.rows,
      messages,
      outcome: messages.length === 0 ? 'released' : result.status,
      error: isFailed ? messageOf(result.error) : null,
      response: isFailed ? null : (result.response ?? null),
    }
    return keeper.step ? { ...settlement, ...keeper.step(of, result) } : settlement
  }

  /**
   * A try whose answer was lost may have been written. Of a completed message the store knows that; of any other, whoever
   * came next may have written over it. But before the lease can have run out, nobody else has ended it.
   */
  #afterRepeat(lease: HeldLease, verdict: SettlementVerdict): SettlementVerdict {
    const isOwnDoing =
      lease.settlement?.outcome !== 'completed' && !lease.lost && this.#engine.port.now() < this.#expiresAt
    return verdict === 'lost' && isOwnDoing ? 'settled' : verdict
  }

  #conclude(lease: HeldLease, verdict: SettlementVerdict): 'settled' | 'lost' {
    const { keeper, of } = this.#input
    const { outcome, messages, response, step } = lease.settlement as Settlement
    if (verdict === 'lost') {
      if (!lease.lost) this.#lose(lease, 'refused')
      return 'lost'
    }
    keeper.settled?.(of, lease.settlement as Settlement)
    // What goes back, to be begun again with newer messages, has neither been done nor failed.
    if (step?.next !== 'give-back') this.#tellEnd(lease, this.#result as HandlerResult)
    if (outcome === 'completed') keeper.completed(messages.map(({ key }) => ({ key, response })))
    if (!lease.lost) keeper.freed(of, lease.part, verdict === 'contended')
    return 'settled'
  }

  #tellEnd(lease: HeldLease, result: HandlerResult): void {
    const { log, events, meters, port } = this.#engine
    const heldMs = port.now() - this.#acquiredAt
    meters.ended(result.status, this.#input.provider, heldMs)
    if (result.status === 'completed') {
      if (log.isDebug()) log.released(this.#subjectOf(lease), heldMs)
      if (events.isHeard('released')) events.emit('released', { ...this.#eventOf(lease), heldMs })
    } else {
      const { error } = result
      log.failed(this.#subjectOf(lease), heldMs, error)
      if (events.isHeard('failed')) events.emit('failed', { ...this.#eventOf(lease), heldMs, error })
    }
  }
}

/** Where the store's word on a settlement goes. */
const SETTLER: Receiver<SettlementVerdict, HeldLease> = {
  answered: (lease, verdict, isRepeated) => lease.holder.settled(lease, verdict, isRepeated),
  failed: (lease, error) => lease.holder.unsettled(lease, error),
}

export function createHold<Of>(engine: Engine, input: HoldInput<Of>): LiveHold {
  return new HeldLeases(engine, input as HoldInput<unknown>)
}

const NOBODY: HoldKeeper<undefined> = {
  freed: () => undefined,
  completed: () => undefined,
  ended: () => undefined,
}

/** For a handler that runs without any lease: the store is down and the user chose that over a 503, or nothing is left to key on. */
export function createHoldOfNothing(engine: Engine, turn: Turn): LiveHold {
  const { nodeId } = engine.options
  return createHold(engine, {
    claim: { owner: turn.owner, nodeId, parts: [], whole: true, staleAfterMs: 0, tokenAbove: 0 },
    provider: turn.plan.provider,
    acquired: [],
    ...positions(turn, turn.plan.parts),
    withheld: null,
    sentAt: engine.port.now(),
    transaction: undefined,
    keeper: NOBODY,
    of: undefined,
  })
}
