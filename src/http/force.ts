/**
 * The forced answer: part of a delivery was withheld, so the provider must come again for it, whatever
 * the handler answers. The handler does not notice: its headers and body go nowhere.
 */
import type { ServerResponse } from 'node:http'
import type { Answer } from './decision.ts'

/**
 * Makes the response answer with `answer` once the handler ends it. Call it before the handler runs.
 * Returns whether the handler has begun to answer, which `response.headersSent` does not tell here.
 */
export function forceAnswer(response: ServerResponse, answer: Answer): () => boolean {
  const headersBefore = response.getHeaders()
  const { writeHead, write, flushHeaders, end } = response
  let begun = false
  /** Node's own `end` calls `writeHead`: then it is meant. */
  let sending = false

  const replacement = {
    writeHead(status: number, ...rest: unknown[]) {
      if (sending) return Reflect.apply(writeHead, response, [status, ...rest])
      begun = true
      response.statusCode = status
      return response
    },
    flushHeaders() {
      if (sending) Reflect.apply(flushHeaders, response, [])
      else begun = true
    },
    write(...chunk: unknown[]) {
      if (sending) return Reflect.apply(write, response, chunk as Parameters<typeof write>)
      begun = true
      const written = callbackOf(chunk)
      if (written) process.nextTick(written)
      return true
    },
    end(...chunk: unknown[]) {
      if (sending) return Reflect.apply(end, response, chunk as Parameters<typeof end>)
      sending = true
      replaceHeaders(response, { ...headersBefore, ...answer.headers })
      response.statusCode = answer.status
      response.statusMessage = ''
      return Reflect.apply(end, response, [answer.body, 'utf8', callbackOf(chunk)])
    },
  }
  Object.assign(response, replacement)
  return () => begun
}

/** The callback that stands last in the parameters of `write` and `end`. */
export function callbackOf(parameters: readonly unknown[]): (() => void) | undefined {
  return parameters.find((parameter) => typeof parameter === 'function') as (() => void) | undefined
}

/** Leaves the response with these headers and no others. */
export function replaceHeaders(response: ServerResponse, headers: NodeJS.Dict<number | string | string[]>): void {
  for (const name of response.getHeaderNames()) response.removeHeader(name)
  for (const [name, value] of Object.entries(headers)) if (value !== undefined) response.setHeader(name, value)
}
