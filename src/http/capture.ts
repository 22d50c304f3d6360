/** Keeping what a handler answers through Node's `ServerResponse`, while it goes out as it would anyway. */
import type { ServerResponse } from 'node:http'
import { headersIn } from './head.ts'
import { type CapturedAnswer, createCapture, KEPT_HEADERS } from './replay.ts'

/**
 * Call it before the handler runs; what it returns gives the answer once `end` has been called, or
 * undefined where it was too large to be kept.
 */
export function captureAnswer(response: ServerResponse): () => CapturedAnswer | undefined {
  const { writeHead, write, end } = response
  const capture = createCapture()
  /** Given to `writeHead`: Node does not show them afterwards. */
  let headersAtHead: Record<string, unknown> = {}
  let head: Pick<CapturedAnswer, 'status' | 'headers'> | undefined

  /** As the handler has it when it begins: what stands behind us may compress the body, or put another answer in its place. */
  function keepHead(): void {
    if (head) return
    const headers: Record<string, string> = {}
    for (const name of KEPT_HEADERS) {
      const value = headersAtHead[name] ?? response.getHeader(name)
      if (value !== undefined) headers[name] = String(value)
    }
    head = { status: response.statusCode, headers }
  }

  response.writeHead = ((status: number, ...rest: unknown[]) => {
    headersAtHead = { ...headersAtHead, ...headersIn(rest.at(-1)) }
    return Reflect.apply(writeHead, response, [status, ...rest])
  }) as typeof writeHead
  response.write = ((...chunk: unknown[]) => {
    keepHead()
    capture.add(chunk[0], chunk[1])
    return Reflect.apply(write, response, chunk as Parameters<typeof write>)
  }) as typeof write
  response.end = ((...chunk: unknown[]) => {
    keepHead()
    if (!response.writableEnded) capture.add(chunk[0], chunk[1])
    return Reflect.apply(end, response, chunk as Parameters<typeof end>)
  }) as typeof end

  return () => {
    const body = capture.body()
    return body && head && { ...head, body }
  }
}
