/**
 * The answer held back: with the strategy `transaction` it goes out once the handler's transaction is committed,
 * since a 200 that left before a failed commit would lose the message. The handler does not notice.
 */
import type { ServerResponse } from 'node:http'
import { type Answer, refuse } from './decision.ts'
import { callbackOf, replaceHeaders } from './force.ts'
import { headersIn } from './head.ts'

/** What is held of one answer at most; a larger one is refused, and its message fails. */
export const MAX_HELD_BYTES = 1024 * 1024

/** Why an answer that is too large fails its message. */
export function tooLargeError(): Error {
  return new Error(
    `the answer is larger than ${MAX_HELD_BYTES} bytes: with the strategy "transaction" it is held back until the ` +
      'commit, so that a handler cannot stream',
  )
}

/** An answer that is held back. */
export interface HeldAnswer {
  /** Has the handler begun to answer? `response.headersSent` does not tell that here. */
  hasBegun(): boolean
  /** Why it was refused before it was complete, if it was. */
  failure(): Error | undefined
  /** Sends it, or another answer in its place. From then on the response does as it is told. */
  letGo(instead?: Answer): void
}

/** Holds back whatever the response is told to send. Call it before the handler runs. */
export function holdBack(response: ServerResponse): HeldAnswer {
  const headersBefore = response.getHeaders()
  const { writeHead, write, flushHeaders, end } = response
  /** Who waits until the answer has gone out. */
  const waiting: Array<() => void> = []
  let kept: Array<() => unknown> = []
  let bytes = 0
  let begun = false
  let failure: Error | undefined
  /** What the response is told is meant; Node's own `end` and `write` call `writeHead`. */
  let passes = false
  /** As the handler has left it: an error handler that comes afterwards comes too late. */
  let ended: { readonly status: number; readonly headers: NodeJS.Dict<number | string | string[]> } | undefined

  function keep(method: typeof write | typeof end, parameters: readonly unknown[]): void {
    const [chunk, encoding] = parameters
    const copy = chunk instanceof Uint8Array ? Buffer.from(chunk) : typeof chunk === 'string' ? chunk : undefined
    const given = typeof encoding === 'string' ? [copy, encoding] : [copy]
    kept.push(() => Reflect.apply(method, response, copy === undefined ? [] : given))
    bytes += copy === undefined ? 0 : Buffer.byteLength(copy)
    if (bytes <= MAX_HELD_BYTES) return
    failure = tooLargeError()
    send(refuse('not-committed'))
    passes = false
  }

  function send(answer: Answer): void {
    passes = true
    kept = []
    if (response.headersSent) {
      response.destroy()
      return
    }
    replaceHeaders(response, { ...headersBefore, ...answer.headers })
    response.statusCode = answer.status
    response.statusMessage = ''
    Reflect.apply(end, response, [answer.body])
  }

  /**
   * The handler would wait for itself: the answer goes when it is done. One that waits for `close`, as `finished` of
   * `node:stream` does, cannot be helped: that the client is gone is not ours to pretend.
   */
  function tellFinished(listener: () => void): void {
    process.nextTick(() => {
      response.off('finish', listener)
      Reflect.apply(listener, response, [])
    })
  }

  response.on('newListener', (event, listener: () => void) => {
    if (event !== 'finish' || passes) return
    if (ended) tellFinished(listener)
    else waiting.push(listener)
  })

  const replacement = {
    writeHead(status: number, ...rest: unknown[]) {
      if (passes) return Reflect.apply(writeHead, response, [status, ...rest])
      begun = true
      if (ended || failure) return response
      requireStatus(status)
      // At once: what cannot be sent is the handler's to know, and an error handler after it may say otherwise.
      for (const [name, value] of Object.entries(headersIn(rest.at(-1)))) response.setHeader(name, value as string)
      response.statusCode = status
      if (typeof rest[0] === 'string') response.statusMessage = rest[0]
      return response
    },
    flushHeaders() {
      if (passes) Reflect.apply(flushHeaders, response, [])
      else begun = true
    },
    write(...chunk: unknown[]) {
      if (passes) return Reflect.apply(write, response, chunk as Parameters<typeof write>)
      begun = true
      if (!ended && !failure) keep(write, chunk)
      callBack(chunk)
      return true
    },
    end(...chunk: unknown[]) {
      if (passes) return Reflect.apply(end, response, chunk as Parameters<typeof end>)
      begun = true
      callBack(chunk)
      if (ended) return response
      ended = { status: response.statusCode, headers: response.getHeaders() }
      if (!failure) keep(end, chunk)
      for (const listener of waiting.splice(0)) tellFinished(listener)
      return response
    },
  }
  Object.assign(response, replacement)
  return {
    hasBegun: () => begun,
    failure: () => failure,
    letGo(instead) {
      if (failure) return
      if (instead) return send(instead)
      passes = true
      if (ended) {
        response.statusCode = ended.status
        replaceHeaders(response, ended.headers)
      }
      for (const call of kept.splice(0)) call()
    },
  }
}

/** As Node's own `writeHead`. */
function requireStatus(status: number): void {
  if (Number.isInteger(status) && status >= 100 && status <= 999) return
  throw Object.assign(new RangeError(`Invalid status code: ${status}`), { code: 'ERR_HTTP_INVALID_STATUS_CODE' })
}

function callBack(parameters: readonly unknown[]): void {
  const done = callbackOf(parameters)
  if (done) process.nextTick(done)
}
