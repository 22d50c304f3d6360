/** Keeping what a handler answers through Node's `ServerResponse`, while it goes out as it would anyway. */
import type { ServerResponse } from 'node:http'
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

  response.writeHead = ((status: number, ...rest: unknown[]) => {
    headersAtHead = { ...headersAtHead, ...namedHeaders(rest.at(-1)) }
    return Reflect.apply(writeHead, response, [status, ...rest])
  }) as typeof writeHead
  response.write = ((...chunk: unknown[]) => {
    capture.add(chunk[0], chunk[1])
    return Reflect.apply(write, response, chunk as Parameters<typeof write>)
  }) as typeof write
  response.end = ((...chunk: unknown[]) => {
    if (!response.writableEnded) capture.add(chunk[0], chunk[1])
    return Reflect.apply(end, response, chunk as Parameters<typeof end>)
  }) as typeof end

  return () => {
    const body = capture.body()
    if (!body) return undefined
    const headers: Record<string, string> = {}
    for (const name of KEPT_HEADERS) {
      const value = headersAtHead[name] ?? response.getHeader(name)
      if (value !== undefined) headers[name] = String(value)
    }
    return { status: response.statusCode, headers, body }
  }
}

/** `writeHead` takes an object, or a flat array of names and values. */
function namedHeaders(given: unknown): Record<string, unknown> {
  if (typeof given !== 'object' || given === null) return {}
  const entries = Array.isArray(given) ? pairs(given) : Object.entries(given)
  return Object.fromEntries(entries.map(([name, value]) => [name.toLowerCase(), value]))
}

function pairs(flat: readonly unknown[]): Array<[string, unknown]> {
  if (flat.every(Array.isArray)) return flat as Array<[string, unknown]>
  return flat.flatMap(
    (name, index): Array<[string, unknown]> => (index % 2 === 0 ? [[String(name), flat[index + 1]]] : []),
  )
}
