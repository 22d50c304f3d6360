/**
 * A hold: what one claim has acquired, from the verdict to the settlement. It renews its leases
 * while the handler runs, tells the handler when one is lost, and settles them at the end.
 */

import type { QueueStep } from '../store/queue.ts'
import {
  type Claim,
  type CompletedMessage,
  type RowHeld,
  type Settlement,
  type SettlementVerdict,
  StoreError,
} from '../store/store.ts'
import type { HandlerResult, Hold, SettleResult, Withheld } from './delivery.ts'
import type { Engine } from './engine.ts'
import { LeaseLostError } from './errors.ts'
import type { Lease } from './lease.ts'
import type { LogSubject } from './log.ts'
import type { PlannedPart } from './plan.ts'
import { pause, type Timer } from './port.ts'
import { runWithin } from './running.ts'
import { positions, type Turn } from './turn.ts'

/** One lease from the inside. A class for its lazy signal: most handlers never look at it. */
class HeldLease implements Lease {
  readonly part: PlannedPart
  readonly owner: string
  readonly fencingToken: number
  readonly takeover: boolean
  readonly rows: readonly RowHeld[]
  lost: LeaseLostError | undefined
  #abort: AbortController | undefined

  constructor({ part, fencingToken, takeover }: Acquired, owner: string) {
    this.part = part
    this.owner = owner
    this.fencingToken = fencingToken
    this.takeover = takeover
    this.rows = part.rows.map(({ key }) => ({ key, fencingToken }))
  }

  get name(): string {
    return this.part.name
  }
  get prospect(): string | null {
    return this.part.prospect
  }
  get device(): string | null {
    return this.part.device
  }
  get messageIds(): readonly string[] {
    return this.part.messages.map((message) => message.id)
  }
  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.lost && !this.#abort.signal.aborted) this.#abort.abort(this.lost)
    return this.#abort.signal
  }

  lose(error: LeaseLostError): void {
    this.lost = error
    this.#abort?.abort(error)
  }
}

/** How much earlier than the store a handler takes its lease for expired, at most. */
const MOST_EARLY_MS = 250

/** What the store gave for one part. */
export interface Acquired {
  readonly part: PlannedPart
  readonly fencingToken: number
  readonly takeover: boolean
}

export interface HoldInput {
  readonly claim: Claim
  readonly provider: string
  readonly acquired: readonly Acquired[]
  readonly fresh: readonly number[]
  readonly duplicates: readonly number[]
  readonly withheld: Withheld | null
  /** When the claim was sent, by the process's own clock. */
  readonly sentAt: number
  /**
   * A lease has ended or is lost: its rows and messages are free for the next in this process, or, where it is
   * contended, also for another process that waits for them.
   */
  freed(part: PlannedPart, contended: boolean): void
  /** Set where the messages came out of the queue: what becomes of them there, by the handler's result. */
  step?(result: HandlerResult): { readonly step: QueueStep; readonly retentionMs: number }
  /** Messages are settled as completed: whoever waits with the same message is answered. */
  completed(messages: readonly CompletedMessage[]): void
  /** Nothing more will be tried for this lease: it is settled, lost or given up. */
  ended(lease: Lease): void
}

/** Also what re-entry is recognised by: which rows are in these hands. */
export interface LiveHold extends Hold {
  /** The name of the live lease that holds this row, if one does. */
  holds(rowKey: string): string | undefined
}

/** A class, as closures of its own for each message would cost more than the claim. */
class HeldLeases implements LiveHold {
  readonly leases: readonly HeldLease[]
  readonly #engine: Engine
  readonly #input: HoldInput
  readonly #acquiredAt: number
  #expiresAt = 0
  #renewAt = 0
  #renewing = false
  #settling: Promise<SettleResult> | undefined
  #timer: Timer | undefined
  #signal: AbortSignal | undefined

  constructor(engine: Engine, input: HoldInput) {
    this.leases = input.acquired.map((one) => new HeldLease(one, input.claim.owner))
    this.#engine = engine
    this.#input = input
    this.#acquiredAt = engine.port.now()
    this.#givenSince(input.sentAt)
    if (this.leases.length > 0) this.#arm()
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
    return this.leases.reduce((largest, lease) => Math.max(largest, lease.fencingToken), 0)
  }
  get signal(): AbortSignal {
    const [first, second] = this.leases
    this.#signal ??= first && !second ? first.signal : AbortSignal.any(this.leases.map((lease) => lease.signal))
    return this.#signal
  }

  within<Result>(work: () => Result): Result {
    return runWithin(this, work)
  }

  holds(rowKey: string): string | undefined {
    if (this.#settling) return undefined
    return this.leases.find((lease) => !lease.lost && lease.rows.some((row) => row.key === rowKey))?.name
  }

  settle(result: HandlerResult): Promise<SettleResult> {
    this.#settling ??= this.#settle(result)
    return this.#settling
  }

  #subjectOf(...leases: readonly HeldLease[]): LogSubject {
    const messageIds = leases.flatMap((lease) => lease.messageIds)
    return { names: leases.map((lease) => lease.name), messageIds, owner: this.#input.claim.owner }
  }

  #eventOf({ prospect, device, messageIds, owner }: HeldLease) {
    return { provider: this.#input.provider, prospect, device, messageIds, owner, nodeId: this.#engine.options.nodeId }
  }

  #lose(lease: HeldLease, loss: 'refused' | 'expired' | 'max_hold'): void {
    lease.lose(new LeaseLostError(loss))
    this.#engine.log.lost(this.#subjectOf(lease), loss)
    this.#engine.events.emit('lease_lost', () => ({ ...this.#eventOf(lease), loss }))
    this.#input.freed(lease.part, false)
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

  /** One timer a hold: whatever comes first of renewal, expiry and `maxHoldMs`. */
  #arm(): void {
    const { port, options } = this.#engine
    const renewAt = options.renew && !this.#renewing ? this.#renewAt : Number.POSITIVE_INFINITY
    const at = Math.min(renewAt, this.#expiresAt, this.#acquiredAt + options.maxHoldMs)
    this.#timer = port.after(Math.max(0, at - port.now()), () => this.#beat())
  }

  #beat(): void {
    if (this.#settling) return
    const { port, options } = this.#engine
    const now = port.now()
    const isTooLong = now >= this.#acquiredAt + options.maxHoldMs
    const loss = now >= this.#expiresAt ? 'expired' : isTooLong ? 'max_hold' : undefined
    if (loss) {
      for (const lease of this.leases) if (!lease.lost) this.#lose(lease, loss)
      return
    }
    if (options.renew && !this.#renewing && now >= this.#renewAt) void this.#renew(now)
    this.#arm()
  }

  async #renew(sentAt: number): Promise<void> {
    const { port, options, renewals } = this.#engine
    const { staleAfterMs } = options
    const { owner } = this.#input.claim
    const held = this.leases.filter((lease) => !lease.lost)
    const rows = held.flatMap((lease) => lease.rows)
    this.#renewing = true
    try {
      const verdict = await renewals.submit({ owner, rows, staleAfterMs })
      if (this.#settling) return
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
    this.#timer?.cancel()
    if (!this.#settling && this.#isAnyLive()) this.#arm()
  }

  #settle(result: HandlerResult): Promise<SettleResult> {
    this.#timer?.cancel()
    const [first, second] = this.leases
    if (first && !second) return this.#settleLease(first, result)
    return Promise.all(this.leases.map((lease) => this.#settleLease(lease, result))).then((results) => {
      if (results.includes('unsettled')) return 'unsettled'
      return results.includes('lost') ? 'lost' : 'settled'
    })
  }

  #settleLease(lease: HeldLease, result: HandlerResult): Promise<SettleResult> {
    const settlement = this.#settlementOf(lease, result)
    return this.#engine.settlements.submit(settlement).then(
      (verdict) => {
        const settled = this.#conclude(lease, result, settlement, verdict)
        this.#input.ended(lease)
        return settled
      },
      (error: unknown) => this.#unsettled(lease, result, settlement, error),
    )
  }

  #unsettled(lease: HeldLease, result: HandlerResult, settlement: Settlement, error: unknown): 'unsettled' {
    this.#engine.storeFailed('settle a lease', error, this.#subjectOf(lease))
    // What the database refuses to write once it refuses again: then at least the session is free.
    const isRefused = error instanceof StoreError && error.kind === 'data'
    const rest: Settlement = isRefused ? { ...settlement, messages: [], outcome: 'released' } : settlement
    void this.#settleLater(lease, result, rest).finally(() => this.#input.ended(lease))
    return 'unsettled'
  }

  /**
   * The store is down while a handler has finished: an expired lease that nobody took can still be
   * settled, so it is tried until `maxHoldMs` is over. Meanwhile the line moves on when the lease runs out.
   */
  async #settleLater(lease: HeldLease, result: HandlerResult, settlement: Settlement): Promise<void> {
    const { port, options, settlements, log, isClosed } = this.#engine
    const until = port.now() + options.maxHoldMs
    for (let waitMs = 50; port.now() < until && !isClosed(); waitMs = Math.min(waitMs * 2, 2000)) {
      await pause(port, waitMs)
      if (!lease.lost && port.now() >= this.#expiresAt) this.#lose(lease, 'expired')
      try {
        this.#conclude(lease, result, settlement, await settlements.submit(settlement))
        return
      } catch (error) {
        log.raw.debug({ err: error, owner: lease.owner }, 'failed to settle a lease; trying again')
      }
    }
    if (!lease.lost) this.#lose(lease, 'expired')
  }

  #settlementOf(lease: HeldLease, result: HandlerResult): Settlement {
    const { nodeId, retentionMs } = this.#engine.options
    const { messages } = lease.part
    return {
      retentionMs,
      ...this.#input.step?.(result),
      owner: lease.owner,
      nodeId,
      rows: lease.rows,
      messages,
      outcome: messages.length === 0 ? 'released' : result.status,
      error:
        result.status === 'failed' ? String(result.error instanceof Error ? result.error.message : result.error) : null,
      response: result.status === 'completed' ? (result.response ?? null) : null,
    }
  }

  #conclude(
    lease: HeldLease,
    result: HandlerResult,
    written: Settlement,
    verdict: SettlementVerdict,
  ): 'settled' | 'lost' {
    const { log, events, port } = this.#engine
    if (verdict === 'lost') {
      if (!lease.lost) this.#lose(lease, 'refused')
      return 'lost'
    }
    const heldMs = port.now() - this.#acquiredAt
    if (result.status === 'completed') {
      log.released(() => this.#subjectOf(lease), heldMs)
      events.emit('released', () => ({ ...this.#eventOf(lease), heldMs }))
      if (written.outcome === 'completed') {
        this.#input.completed(written.messages.map(({ key }) => ({ key, response: written.response })))
      }
    } else {
      const { error } = result
      log.failed(this.#subjectOf(lease), heldMs, error)
      events.emit('failed', () => ({ ...this.#eventOf(lease), heldMs, error }))
    }
    if (!lease.lost) this.#input.freed(lease.part, verdict === 'contended')
    return 'settled'
  }
}

export function createHold(engine: Engine, input: HoldInput): LiveHold {
  return new HeldLeases(engine, input)
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
    freed: () => undefined,
    completed: () => undefined,
    ended: () => undefined,
  })
}
