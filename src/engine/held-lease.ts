/** One lease of a hold, from the inside. */
import type { Claim, RowHeld, Settlement, SettlementVerdict } from '../store/store.ts'
import type { StoreTransaction, TransactionClient } from '../store/transactions.ts'
import type { LeaseLostError } from './errors.ts'
import type { Lease } from './lease.ts'
import type { PlannedPart } from './plan.ts'

/** What the store gave for one part. */
export interface Acquired {
  readonly part: PlannedPart
  readonly fencingToken: number
  readonly takeover: boolean
}

/** What the store was asked, when by the process's own clock, and in whose transaction. */
export interface Asked {
  readonly claim: Claim
  readonly sentAt: number
  readonly transaction: StoreTransaction | undefined
}

/** The hold it belongs to, which is told what became of its settlement. */
export interface LeaseHolder {
  /** `isRepeated`: it may have been settled by a try whose answer was lost. */
  settled(lease: HeldLease, verdict: SettlementVerdict, isRepeated: boolean): void
  unsettled(lease: HeldLease, error: unknown): void
}

/** A class for its lazy signal: most handlers never look at it. */
export class HeldLease implements Lease {
  readonly holder: LeaseHolder
  readonly part: PlannedPart
  readonly owner: string
  readonly fencingToken: number
  readonly takeover: boolean
  readonly rows: readonly RowHeld[]
  readonly tx: TransactionClient | undefined
  lost: LeaseLostError | undefined
  /** What is being written of it. */
  settlement: Settlement | undefined
  #abort: AbortController | undefined

  constructor(holder: LeaseHolder, { part, fencingToken, takeover }: Acquired, { claim, transaction }: Asked) {
    this.holder = holder
    this.part = part
    this.owner = claim.owner
    this.tx = transaction?.tx
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
