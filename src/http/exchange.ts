/**
 * One request and its answer, whatever framework they came by: all that the claim, the decision table and
 * the watch over the handler need of them. A framework is one implementation of this.
 */
import type { DeliveryMessage } from '../engine/delivery.ts'
import type { Lease } from '../engine/lease.ts'
import type { IncomingDelivery } from '../providers/provider.ts'
import type { Answer } from './decision.ts'
import type { CapturedAnswer } from './replay.ts'

/** The delivery with its body parsed, or the refusal of one that cannot be read. */
export type ExchangeRead =
  | { readonly incoming: IncomingDelivery }
  | { readonly refusal: Answer; readonly cause: unknown }

/** One request on its way to an answer. */
export interface Exchange {
  /** What the request is known by: of two middlewares that meet it, the first one claims, and marks it. */
  readonly request: object
  /** What the hooks `onDuplicate` and `onBusy` are given. */
  readonly hookArguments: readonly [request: unknown, response: unknown]
  /** Reads the body where nobody has; where somebody has, it is there at once. */
  read(): ExchangeRead | Promise<ExchangeRead>
  /** Gives the handler this body in place of the one that came. */
  replaceBody(reduced: unknown): void
  /** Shows the handler what is held, where that is not the request itself. */
  show(lock: RequestLock): void
  /** Sends an answer of ours, unless somebody has answered already. `own`: what a hook returned. */
  send(answer: Answer, own?: unknown): void
  /** From now on, whatever the handler answers, this is sent when it has ended its answer. */
  force(answer: Answer): void
  /** From now on the handler's answer waits for {@link Exchange.letGo}. */
  holdBack(): void
  /** Sends what was held back, or another answer in its place. */
  letGo(instead?: Answer): void
  /** From now on the handler's answer is kept, for {@link Exchange.onEnd} to give. */
  capture(): void
  /** Has the handler begun to answer? */
  hasBegun(): boolean
  /** Calls back when the handler has ended its answer, which needs no client. */
  onEnd(ended: (end: HandlerEnd) => void): void
  /** Calls back when the client is gone, or at once where it is. */
  onDeserted(deserted: () => void): void
}

/** How a handler has ended its answer. */
export interface HandlerEnd {
  /** The one it had set. */
  readonly status: number
  /** The answer itself, where it was captured and is small enough to be kept. */
  readonly answer?: CapturedAnswer | undefined
  /** Why the answer came to no good end, where that is known. */
  readonly failure?: Error | undefined
}

/** What a handler finds as `req.sessionLock`. */
export interface RequestLock {
  readonly provider: string
  /** The messages to handle, in the order of the body. */
  readonly messages: readonly DeliveryMessage[]
  /** Those of the same delivery that are handled already; the handler's body does not hold them. */
  readonly duplicates: readonly DeliveryMessage[]
  /** One a session, or one a message where it has no session. Empty with `onStoreError: 'allow'` while the store is down. */
  readonly leases: readonly Lease[]
  /** Aborts when a lease is lost: stop writing then, somebody else may run. */
  readonly signal: AbortSignal
  /** The largest token of the leases: write it beside what you write, and refuse smaller ones. */
  readonly fencingToken: number
  /**
   * Work that goes on after the answer: the message is settled when it is done, and fails when it rejects.
   * Call it before the response is ended, or right after, in the same turn.
   */
  waitUntil(promise: PromiseLike<unknown>): void
  /** Fails the messages, whatever the answer's status: a redelivery may try again. */
  fail(error: unknown): void
}
