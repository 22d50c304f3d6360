/**
 * A hold: what one claim has acquired, from the verdict to the settlement. It renews its leases
 * while the handler runs, tells the handler when one is lost, and settles them at the end.
 */
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

  constructor(part: PlannedPart, owner: string, fencingToken: number, takeover: boolean) {
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

export interface HoldInput {
  readonly claim: Claim
  readonly provider: string
  readonly acquired: ReadonlyArray<{ part: PlannedPart; fencingToken: number; takeover: boolean }>
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
  /** Messages are settled as completed: whoever waits with the same message is answered. */
  completed(messages: readonly CompletedMessage[]): void
}

/** Also what re-entry is recognised by: which rows are in these hands. */
export interface LiveHold extends Hold {
  /** The name of the live lease that holds this row, if one does. */
  holds(rowKey: string): string | undefined
  /** Resolves when every lease is settled, lost or given up. */
  readonly ended: Promise<void>
}

type Doings = Pick<LiveHold, 'within' | 'settle' | 'holds' | 'ended'>

/** A class, as an object literal with a getter has a shape of its own each time, which costs more than the claim. */
class HeldLeases implements LiveHold {
  readonly leases: readonly HeldLease[]
  readonly fresh: readonly number[]
  readonly duplicates: readonly number[]
  readonly withheld: Withheld | null
  readonly fencingToken: number
  readonly within: LiveHold['within']
  readonly settle: LiveHold['settle']
  readonly holds: LiveHold['holds']
  readonly ended: Promise<void>
  #signal: AbortSignal | undefined

  constructor(leases: readonly HeldLease[], input: HoldInput, doings: Doings) {
    this.leases = leases
    this.fresh = input.fresh
    this.duplicates = input.duplicates
    this.withheld = input.withheld
    this.fencingToken = Math.max(0, ...leases.map((lease) => lease.fencingToken))
    this.within = doings.within
    this.settle = doings.settle
    this.holds = doings.holds
    this.ended = doings.ended
  }

  get signal(): AbortSignal {
    const [first, second] = this.leases
    this.#signal ??= first && !second ? first.signal : AbortSignal.any(this.leases.map((lease) => lease.signal))
    return this.#signal
  }
}

export function createHold(engine: Engine, input: HoldInput): LiveHold {
  const { port, options } = engine
  const { owner } = input.claim
  const leases = input.acquired.map((one) => new HeldLease(one.part, owner, one.fencingToken, one.takeover))
  const acquiredAt = port.now()
  let expiresAt = input.sentAt + options.staleAfterMs
  let renewAt = input.sentAt + options.staleAfterMs / 3
  let renewing = false
  let settling: Promise<SettleResult> | undefined
  let timer: Timer | undefined
  let markEnded: () => void = () => {}
  const ended = new Promise<void>((resolve) => {
    markEnded = resolve
  })

  const live = () => leases.filter((lease) => !lease.lost)

  function subjectOf(some: readonly HeldLease[]): LogSubject {
    return { names: some.map((lease) => lease.name), messageIds: some.flatMap((lease) => lease.messageIds), owner }
  }

  function eventOf(lease: HeldLease) {
    const { prospect, device, messageIds } = lease
    return { provider: input.provider, prospect, device, messageIds, owner, nodeId: options.nodeId }
  }

  function lose(lease: HeldLease, loss: 'refused' | 'expired' | 'max_hold'): void {
    lease.lose(new LeaseLostError(loss))
    engine.log.lost(subjectOf([lease]), loss)
    engine.events.emit('lease_lost', () => ({ ...eventOf(lease), loss }))
    input.freed(lease.part, false)
  }

  /** One timer a hold: whatever comes first of renewal, expiry and `maxHoldMs`. */
  function arm(): void {
    const maxHoldAt = acquiredAt + options.maxHoldMs
    const renewal = options.renew && !renewing ? renewAt : Number.POSITIVE_INFINITY
    timer = port.after(Math.max(0, Math.min(renewal, expiresAt, maxHoldAt) - port.now()), beat)
  }

  function beat(): void {
    if (settling) return
    const now = port.now()
    const loss = now >= expiresAt ? 'expired' : now >= acquiredAt + options.maxHoldMs ? 'max_hold' : undefined
    if (loss) {
      for (const lease of live()) lose(lease, loss)
      return
    }
    if (options.renew && !renewing && now >= renewAt) void renew(now)
    arm()
  }

  async function renew(sentAt: number): Promise<void> {
    renewing = true
    const held = live()
    const rows = held.flatMap((lease) => lease.rows)
    try {
      const verdict = await engine.renewals.submit({ owner, rows, staleAfterMs: options.staleAfterMs })
      if (settling) return
      const refused = new Set(rows.filter((_, index) => !verdict[index]).map((row) => row.key))
      for (const lease of held) {
        if (!lease.lost && lease.rows.some((row) => refused.has(row.key))) lose(lease, 'refused')
      }
      expiresAt = sentAt + options.staleAfterMs
      renewAt = sentAt + options.staleAfterMs / 3
    } catch (error) {
      engine.storeFailed('renew a lease', error)
      renewAt = port.now() + options.staleAfterMs / 15
    }
    renewing = false
    timer?.cancel()
    if (!settling && live().length > 0) arm()
  }

  async function settle(result: HandlerResult): Promise<SettleResult> {
    timer?.cancel()
    const later: Promise<void>[] = []
    const results = await Promise.all(leases.map((lease) => settleLease(lease, result, later)))
    void Promise.all(later).finally(markEnded)
    if (results.includes('unsettled')) return 'unsettled'
    return results.includes('lost') ? 'lost' : 'settled'
  }

  async function settleLease(lease: HeldLease, result: HandlerResult, later: Promise<void>[]): Promise<SettleResult> {
    const settlement = settlementOf(lease, result)
    try {
      return conclude(lease, result, settlement, await engine.settlements.submit(settlement))
    } catch (error) {
      engine.storeFailed('settle a lease', error)
      // What the database refuses to write once it refuses again: then at least the session is free.
      const isRefused = error instanceof StoreError && error.kind === 'data'
      const rest: Settlement = isRefused ? { ...settlement, messages: [], outcome: 'released' } : settlement
      later.push(settleLater(lease, result, rest))
      return 'unsettled'
    }
  }

  /**
   * The store is down while a handler has finished: an expired lease that nobody took can still be
   * settled, so it is tried until `maxHoldMs` is over. Meanwhile the line moves on when the lease runs out.
   */
  async function settleLater(lease: HeldLease, result: HandlerResult, settlement: Settlement): Promise<void> {
    const until = port.now() + options.maxHoldMs
    for (let waitMs = 50; port.now() < until && !engine.isClosed(); waitMs = Math.min(waitMs * 2, 2000)) {
      await pause(port, waitMs)
      if (!lease.lost && port.now() >= expiresAt) lose(lease, 'expired')
      try {
        conclude(lease, result, settlement, await engine.settlements.submit(settlement))
        return
      } catch (error) {
        engine.log.raw.debug({ err: error, owner }, 'failed to settle a lease; trying again')
      }
    }
    if (!lease.lost) lose(lease, 'expired')
  }

  function settlementOf(lease: HeldLease, result: HandlerResult): Settlement {
    return {
      owner,
      nodeId: options.nodeId,
      rows: lease.rows,
      messages: lease.part.messages,
      outcome: lease.part.messages.length === 0 ? 'released' : result.status,
      retentionMs: options.retentionMs,
      error:
        result.status === 'failed' ? String(result.error instanceof Error ? result.error.message : result.error) : null,
      response: result.status === 'completed' ? (result.response ?? null) : null,
    }
  }

  function conclude(
    lease: HeldLease,
    result: HandlerResult,
    written: Settlement,
    verdict: SettlementVerdict,
  ): SettleResult {
    const heldMs = port.now() - acquiredAt
    if (verdict === 'lost') {
      if (!lease.lost) lose(lease, 'refused')
      return 'lost'
    }
    if (result.status === 'completed') {
      engine.log.released(() => subjectOf([lease]), heldMs)
      engine.events.emit('released', () => ({ ...eventOf(lease), heldMs }))
      if (written.outcome === 'completed') {
        input.completed(written.messages.map(({ key }) => ({ key, response: written.response })))
      }
    } else {
      const { error } = result
      engine.log.failed(subjectOf([lease]), heldMs, error)
      engine.events.emit('failed', () => ({ ...eventOf(lease), heldMs, error }))
    }
    if (!lease.lost) input.freed(lease.part, verdict === 'contended')
    return 'settled'
  }

  const hold: LiveHold = new HeldLeases(leases, input, {
    within: (work) => engine.running.run({ hold, outer: engine.running.getStore() }, work),
    settle(result) {
      settling ??= settle(result)
      return settling
    },
    holds: (rowKey) =>
      settling ? undefined : leases.find((lease) => !lease.lost && lease.rows.some((row) => row.key === rowKey))?.name,
    ended,
  })
  if (leases.length > 0) arm()
  else markEnded()
  return hold
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
  })
}
