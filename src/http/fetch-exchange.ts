/** The exchange of everything that answers a `Request` with a `Response`. */
import { asError } from '../engine/errors.ts'
import type { Claimed } from './claim.ts'
import type { Answer } from './decision.ts'
import type { Exchange, HandlerEnd, RequestLock } from './exchange.ts'
import { readRequest } from './fetch-body.ts'
import { MAX_HELD_BYTES, tooLargeError } from './hold-back.ts'
import { type Capture, createCapture, KEPT_HEADERS } from './replay.ts'

/** How far a handler's answer is read ahead of its client. */
const READ_AHEAD_BYTES = 64 * 1024

/** One `Request` on its way to a `Response`. */
export interface FetchExchange extends Exchange {
  /** The request for the handler: the one that came, or one with another body. Nobody has read from it. */
  readonly request: Request
  /** The body that the handler is to see, parsed. */
  readonly body: unknown
  /** What is held; undefined where nothing is. */
  readonly lock: RequestLock | undefined
  /** What we answer in the handler's place. */
  readonly answer: Response | undefined
  /** Runs the handler of what was claimed, and watches its answer until its body has been produced. */
  handle(claimed: Exclude<Claimed, string>, handler: () => Promise<Response>): Promise<Response>
}

export interface FetchExchangeOptions {
  readonly limitBytes: number
  readonly hookArguments?: Exchange['hookArguments']
  /** The body of a request that somebody has read, where it can still be had. */
  readonly bytesRead?: () => Promise<ArrayBuffer>
}

/** Makes the exchange of one request. */
export function fetchExchange(original: Request, options: FetchExchangeOptions): FetchExchange {
  let request = original
  let body: unknown
  let lock: RequestLock | undefined
  let answer: Response | undefined
  let captured: Capture | undefined
  let begun = false
  let ended: (end: HandlerEnd) => void = () => {}
  /** Resolves when the handler's answer may go, with the one that goes in its place, if any. */
  let held: Promise<Response | undefined> | undefined
  let letGo: (instead?: Response) => void = () => {}

  async function respond(response: Response): Promise<Response> {
    begun = true
    const { status, headers } = response
    const finished = (failure?: Error): void => {
      const body = captured?.body()
      ended({ status, failure, answer: body && { status, headers: keptHeaders(headers), body } })
    }
    if (held) {
      const whole = await readWhole(response)
      captured?.add(whole)
      finished()
      return new Response(response.body && whole, response)
    }
    if (!answer && response.body) return new Response(watch(response.body, finished, captured), response)
    finished(answer && (await drain(response, original.signal, captured)))
    return answer ?? response
  }

  return {
    get request() {
      return request
    },
    get body() {
      return body
    },
    get lock() {
      return lock
    },
    get answer() {
      return answer
    },
    hookArguments: options.hookArguments ?? [original, undefined],
    async read() {
      const read = await readRequest(original, options.limitBytes, options.bytesRead)
      if ('incoming' in read) body = read.incoming.body
      return read
    },
    replaceBody(reduced) {
      const headers = new Headers(original.headers)
      headers.delete('content-length')
      body = reduced
      request = new Request(original, { headers, body: JSON.stringify(reduced) })
    },
    show(held) {
      lock = held
    },
    send(ours, own) {
      answer = isResponse(own) ? own : responseOf(ours)
    },
    force(ours) {
      answer = responseOf(ours)
    },
    holdBack() {
      held = new Promise((resolve) => {
        letGo = resolve
      })
    },
    letGo: (ours) => letGo(ours && responseOf(ours)),
    capture() {
      captured = createCapture()
    },
    hasBegun: () => begun,
    onEnd(callback) {
      ended = callback
    },
    onDeserted(deserted) {
      if (original.signal.aborted) deserted()
      else original.signal.addEventListener('abort', deserted, { once: true })
    },
    async handle({ hold, run }, handler) {
      const handled = hold.within(handler).then(respond)
      run.follow(handled)
      try {
        const response = await handled
        return (await held) ?? response
      } catch (error) {
        if (answer) return answer
        throw error
      }
    },
  }
}

/** Not by its class: some servers put one of their own in the place of the global one. */
function isResponse(value: unknown): value is Response {
  return typeof value === 'object' && value !== null && 'status' in value && 'headers' in value
}

function responseOf({ status, headers, body }: Answer): Response {
  return new Response(body.length === 0 ? null : body, { status, headers })
}

function keptHeaders(headers: Headers): Record<string, string> {
  return Object.fromEntries(
    KEPT_HEADERS.flatMap((name) => (headers.has(name) ? [[name, headers.get(name) ?? '']] : [])),
  )
}

/**
 * The same body, telling when it has been produced. It is read ahead, so that a short answer is finished
 * without a client, as it is when a server is given it whole.
 */
function watch(
  body: ReadableStream<Uint8Array>,
  finished: (failure?: Error) => void,
  captured: Capture | undefined,
): ReadableStream<Uint8Array> {
  const reader = body.getReader()
  let isCut = false
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (isCut) return
          if (!done) {
            captured?.add(value)
            controller.enqueue(value)
          } else {
            controller.close()
            finished()
          }
        } catch (error) {
          controller.error(error)
          finished(asError(error))
        }
      },
      async cancel(reason) {
        isCut = true
        finished(cutError())
        await reader.cancel(reason)
      },
    },
    { highWaterMark: READ_AHEAD_BYTES, size: (chunk) => chunk.byteLength },
  )
}

/** The body, which is held until the commit. */
async function readWhole({ body }: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body ?? []) {
    bytes += chunk.length
    if (bytes > MAX_HELD_BYTES) throw tooLargeError()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/**
 * The handler's answer goes nowhere, and is produced all the same, or until the client is gone: what it
 * leaves unfinished then is returned as the failure.
 */
async function drain(
  { body }: Response,
  signal: AbortSignal,
  captured: Capture | undefined,
): Promise<Error | undefined> {
  if (!body) return undefined
  const reader = body.getReader()
  let failure: Error | undefined
  const cut = (): void => {
    failure = cutError()
    reader.cancel(signal.reason).catch(() => undefined)
  }
  if (signal.aborted) cut()
  else signal.addEventListener('abort', cut, { once: true })
  for (let read = await reader.read(); !read.done; read = await reader.read()) captured?.add(read.value)
  signal.removeEventListener('abort', cut)
  return failure
}

function cutError(): Error {
  return new Error('the connection was closed in the middle of the answer')
}
