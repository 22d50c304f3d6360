/** The body of a `Request`, read from a copy: the handler's own is left as it came. */
import { parse } from 'node:querystring'
import { FORM_TYPE, JSON_TYPE } from './body.ts'
import { refuse } from './decision.ts'
import type { ExchangeRead } from './exchange.ts'

/** Reads it where it is JSON or a form; other types stay unread, and the body is then undefined. */
export async function readRequest(
  request: Request,
  limitBytes: number,
  bytesRead?: () => Promise<ArrayBuffer>,
): Promise<ExchangeRead> {
  const type = request.headers.get('content-type') ?? ''
  if (!JSON_TYPE.test(type) && !FORM_TYPE.test(type)) return { incoming: incomingOf(request) }
  if ((request.headers.get('content-encoding') ?? 'identity') !== 'identity') {
    return { refusal: refuse('invalid-body', { status: 415 }), cause: { type: 'encoding.unsupported' } }
  }
  const bytes = request.bodyUsed ? await readAgain(bytesRead) : await readCopy(request, limitBytes)
  if (!bytes || bytes.length > limitBytes) {
    return { refusal: refuse('body-too-large'), cause: { type: 'entity.too.large' } }
  }
  if (bytes.length === 0) return { incoming: incomingOf(request) }
  try {
    return { incoming: { ...incomingOf(request), body: parsed(bytes, type), rawBody: bytes } }
  } catch {
    return { refusal: refuse('invalid-body'), cause: { type: 'entity.parse.failed' } }
  }
}

async function readAgain(bytesRead: (() => Promise<ArrayBuffer>) | undefined): Promise<Uint8Array> {
  if (bytesRead) return new Uint8Array(await bytesRead())
  throw new TypeError("session-lock: the request's body was read before: give withSessionLock() the request as it came")
}

/** Undefined where it is too large; the rest of it is then given up. */
async function readCopy(request: Request, limitBytes: number): Promise<Uint8Array | undefined> {
  const copy = request.clone().body
  if (!copy) return new Uint8Array()
  const chunks: Uint8Array[] = []
  let length = 0
  const reader = copy.getReader()
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    length += next.value.length
    if (length > limitBytes) {
      void Promise.all([reader.cancel(), request.body?.cancel()]).catch(() => undefined)
      return undefined
    }
    chunks.push(next.value)
  }
  return Buffer.concat(chunks, length)
}

function parsed(bytes: Uint8Array, type: string): unknown {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  if (FORM_TYPE.test(type)) return { ...parse(text) }
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null) throw new SyntaxError('neither an object nor an array')
  return value
}

function incomingOf(request: Request) {
  const { pathname, search } = new URL(request.url)
  return {
    method: request.method,
    url: `${pathname}${search}`,
    headers: Object.fromEntries(request.headers),
    body: undefined,
  }
}
