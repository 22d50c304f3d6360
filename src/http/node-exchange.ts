/** The exchange of everything that answers through Node's own `ServerResponse`. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { IncomingDelivery } from '../providers/provider.ts'
import type { BodyReader } from './body.ts'
import { captureAnswer } from './capture.ts'
import type { Answer } from './decision.ts'
import type { Exchange, RequestLock } from './exchange.ts'
import { forceAnswer } from './force.ts'
import type { CapturedAnswer } from './replay.ts'

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

/** Makes the exchange of one request. A framework that keeps the body or the lock elsewhere replaces a part. */
export function nodeExchange(request: RequestLike, response: ServerResponse, readBody: BodyReader): Exchange {
  let hasBegunUnseen = (): boolean => false
  let captured: (() => CapturedAnswer | undefined) | undefined
  return {
    request,
    hookArguments: [request, response],
    async read() {
      const read = await readBody(request, response)
      return 'refusal' in read ? read : { incoming: deliveryFrom(request, read.body) }
    },
    /** A new body in place of the old, which may be somebody else's too; text stays text, bytes stay bytes. */
    replaceBody(reduced) {
      if (typeof request.body === 'string') request.body = JSON.stringify(reduced)
      else if (request.body instanceof Uint8Array) request.body = Buffer.from(JSON.stringify(reduced))
      else request.body = reduced
    },
    show(lock) {
      request.sessionLock = lock
    },
    send: (answer) => send(response, answer),
    force(answer) {
      hasBegunUnseen = forceAnswer(response, answer)
    },
    hasBegun: () => response.headersSent || hasBegunUnseen(),
    capture() {
      captured = captureAnswer(response)
    },
    onEnd: (ended) => onEnd(response, (status) => ended({ status, answer: captured?.() })),
    onDeserted(deserted) {
      if (response.destroyed || response.closed) deserted()
      else response.once('close', deserted)
    },
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

function send(response: ServerResponse, answer: Answer): void {
  if (response.headersSent || response.writableEnded) return
  response.writeHead(answer.status, answer.headers)
  response.end(answer.body)
}

/** Neither `finish` nor `close` will do: see `finish.ts`. So it is the call of `end` itself. */
function onEnd(response: ServerResponse, ended: (status: number) => void): void {
  const { end } = response
  response.end = ((...chunk: Parameters<typeof end>) => {
    const status = response.statusCode
    const result = Reflect.apply(end, response, chunk)
    ended(status)
    return result
  }) as typeof end
}
