/** The exchange of everything that answers through Node's own `ServerResponse`. */
import { type IncomingMessage, ServerResponse } from 'node:http'
import type { IncomingDelivery } from '../providers/provider.ts'
import type { BodyRead, BodyReader } from './body.ts'
import { captureAnswer } from './capture.ts'
import type { Answer } from './decision.ts'
import type { Exchange, ExchangeRead, HandlerEnd, RequestLock } from './exchange.ts'
import { forceAnswer } from './force.ts'
import { type HeldAnswer, holdBack } from './hold-back.ts'
import type { CapturedAnswer } from './replay.ts'
import { showOn } from './shown.ts'

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

/**
 * The exchange of one request. A framework that keeps the body or the lock elsewhere overrides a part. A class,
 * as there is one for each request.
 */
export class NodeExchange implements Exchange {
  readonly request: RequestLike
  readonly #response: ServerResponse
  readonly #readBody: BodyReader
  #hasBegunUnseen: (() => boolean) | undefined
  #held: HeldAnswer | undefined
  #captured: (() => CapturedAnswer | undefined) | undefined

  constructor(request: RequestLike, response: ServerResponse, readBody: BodyReader) {
    this.request = request
    this.#response = response
    this.#readBody = readBody
  }

  get hookArguments(): readonly [unknown, unknown] {
    return [this.request, this.#response]
  }

  read(): ExchangeRead | Promise<ExchangeRead> {
    const read = this.#readBody(this.request, this.#response)
    return read instanceof Promise ? read.then((late) => this.#received(late)) : this.#received(read)
  }

  #received(read: BodyRead): ExchangeRead {
    return 'refusal' in read ? read : { incoming: deliveryFrom(this.request, read.body) }
  }

  /** A new body in place of the old, which may be somebody else's too; text stays text, bytes stay bytes. */
  replaceBody(reduced: unknown): void {
    const { request } = this
    if (typeof request.body === 'string') request.body = JSON.stringify(reduced)
    else if (request.body instanceof Uint8Array) request.body = Buffer.from(JSON.stringify(reduced))
    else request.body = reduced
  }

  show(lock: RequestLock): void {
    showOn(this.request, lock)
  }

  send(answer: Answer, _own?: unknown): void {
    const response = this.#response
    if (response.headersSent || response.writableEnded) return
    response.writeHead(answer.status, answer.headers)
    response.end(answer.body)
  }

  force(answer: Answer): void {
    this.#hasBegunUnseen = forceAnswer(this.#response, answer)
  }

  holdBack(): void {
    this.#held = holdBack(this.#response)
    this.#hasBegunUnseen = this.#held.hasBegun
  }

  letGo(instead?: Answer): void {
    this.#held?.letGo(instead)
  }

  hasBegun(): boolean {
    return this.#response.headersSent || this.#hasBegunUnseen?.() === true
  }

  capture(): void {
    this.#captured = captureAnswer(this.#response)
  }

  /**
   * Neither `finish` nor `close` will do: see `finish.ts`. So it is the call of `end` itself, or, where nothing
   * of the response is replaced, what Node emits from within that call, which costs less.
   */
  onEnd(ended: (end: HandlerEnd) => void): void {
    const response = this.#response
    // A response that stands behind others on its connection has no socket yet, and may never get one.
    // And that of HTTP/2 only looks like Node's own.
    if (response instanceof ServerResponse && response.socket && !this.#captured && !this.#hasBegunUnseen) {
      response.on('prefinish', () => ended({ status: response.statusCode }))
      return
    }
    const { end } = response
    response.end = ((...chunk: Parameters<typeof end>) => {
      const status = response.statusCode
      const result = Reflect.apply(end, response, chunk)
      ended({ status, answer: this.#captured?.(), failure: this.#held?.failure() })
      return result
    }) as typeof end
  }

  onDeserted(deserted: () => void): void {
    const response = this.#response
    if (response.destroyed || response.closed) deserted()
    else response.on('close', deserted)
  }
}

/** The request as the providers see it. `body`: parsed. */
function deliveryFrom(request: RequestLike, body: unknown): IncomingDelivery {
  const { rawBody } = request
  return {
    method: request.method ?? '',
    url: request.originalUrl ?? request.url ?? '/',
    headers: request.headers,
    body,
    rawBody: rawBody instanceof Uint8Array ? rawBody : typeof rawBody === 'string' ? Buffer.from(rawBody) : undefined,
  }
}
