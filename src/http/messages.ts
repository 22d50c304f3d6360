/** Requests and responses as this library needs them: Node's own, with what Express and its kind add. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { DeliveryMessage } from '../engine/delivery.ts'
import type { Lease } from '../engine/lease.ts'
import type { IncomingDelivery } from '../providers/provider.ts'
import type { Answer } from './decision.ts'

/** A request of Express 4 or 5, of Connect, or of `node:http` itself. */
export interface RequestLike extends IncomingMessage {
  body?: unknown
  /** The body's bytes as they came: see {@link keepRawBody}. */
  rawBody?: unknown
  originalUrl?: string
  sessionLock?: RequestLock
}

/** Goes on to the next handler, or to the error handlers. */
export type NextLike = (error?: unknown) => void

/** What a handler finds as `req.sessionLock`. */
export interface RequestLock {
  readonly provider: string
  /** The messages to handle, in the order of the body. */
  readonly messages: readonly DeliveryMessage[]
  /** Those of the same delivery that are handled already; `req.body` does not hold them. */
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

/** The request as the providers see it. `body`: parsed. */
export function deliveryFrom(request: RequestLike, body: unknown): IncomingDelivery {
  const { rawBody } = request
  return {
    method: request.method ?? '',
    url: request.originalUrl ?? request.url ?? '/',
    headers: request.headers,
    body,
    rawBody: rawBody instanceof Uint8Array ? rawBody : typeof rawBody === 'string' ? Buffer.from(rawBody) : undefined,
  }
}

/** Sends an answer of ours. Where somebody has answered already, theirs stands. */
export function send(response: ServerResponse, answer: Answer): void {
  if (response.headersSent || response.writableEnded) return
  response.writeHead(answer.status, answer.headers)
  response.end(answer.body)
}
