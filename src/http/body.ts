/**
 * The body of a delivery. Where nobody has read it, it is read here; where somebody has, it is taken
 * as it stands.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { parse } from 'node:querystring'
import { type Answer, refuse } from './decision.ts'
import type { RequestLike } from './node-exchange.ts'

const JSON_TYPES = ['application/json', 'application/*+json']
const FORM_TYPES = ['application/x-www-form-urlencoded']

/** The same types, as they stand in a header. */
export const JSON_TYPE = /^\s*application\/(?:[^;\s]+\+)?json\s*(?:;|$)/i
export const FORM_TYPE = /^\s*application\/x-www-form-urlencoded\s*(?:;|$)/i

/** Is this the type of a body that can hold a delivery, and whose bytes are kept? */
export function isKeptType(contentType: string | undefined): boolean {
  return contentType !== undefined && (JSON_TYPE.test(contentType) || FORM_TYPE.test(contentType))
}

/**
 * Keeps a body's bytes as `request.rawBody`, which signatures are made over. For body parsers that run
 * before `sessionLock()`; where it reads the body itself, it keeps them too.
 *
 * @example
 * app.use('/webhook', express.json({ verify: keepRawBody }), sessionLock({ secret: process.env.APP_SECRET }))
 */
export function keepRawBody(request: IncomingMessage, _response: ServerResponse, bytes: Buffer): void {
  const kept: { rawBody?: unknown } = request as RequestLike
  kept.rawBody ??= bytes
}

/** The parsed body, or the refusal of one that cannot be read. */
export type BodyRead = { readonly body: unknown } | { readonly refusal: Answer; readonly cause: unknown }

/** At once where somebody has read the body. */
export type BodyReader = (request: RequestLike, response: ServerResponse) => BodyRead | Promise<BodyRead>

type Parser = (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void

/** Makes the reader. Other content types than JSON and forms stay unread: the body is then undefined. */
export function createBodyReader(limitBytes: number): BodyReader {
  // On its way before the first request comes. What only imports the package does not pay for it.
  const parsers = loadParsers(limitBytes)
  parsers.catch(() => undefined)
  return (request, response) => (isUnread(request) ? read(request, response) : { body: parsedBody(request) })

  async function read(request: RequestLike, response: ServerResponse): Promise<BodyRead> {
    const before = request.body
    // With HTTP/2 a body may come without a length; the parsers ask for this header to know that there is one.
    const isUnmarked = request.httpVersionMajor >= 2 && request.headers['content-length'] === undefined
    if (isUnmarked) request.headers['transfer-encoding'] = 'chunked'
    try {
      for (const parser of await parsers) {
        await run(parser, request, response)
        if (request.body !== before) break
      }
    } catch (error) {
      return { refusal: refuseBody(error), cause: error }
    } finally {
      if (isUnmarked) delete request.headers['transfer-encoding']
    }
    // Express 4's own parsers ask for this mark, and would wait for ever for a body that has been read.
    if (request.body !== before) (request as { _body?: boolean })._body = true
    return { body: request.body }
  }
}

async function loadParsers(limitBytes: number): Promise<readonly Parser[]> {
  const { default: bodyParser } = await import('body-parser')
  return [
    bodyParser.json({ limit: limitBytes, verify: keepRawBody, type: JSON_TYPES }),
    bodyParser.urlencoded({ limit: limitBytes, verify: keepRawBody, type: FORM_TYPES, extended: false }),
  ]
}

/** Nobody has read from the stream. A parser that found the body not to its taste may have left `{}` behind. */
function isUnread(request: RequestLike): boolean {
  return !request.readableDidRead && !request.readableEnded && !request.destroyed && isEmpty(request.body)
}

function isEmpty(body: unknown): boolean {
  return body === undefined || (typeof body === 'object' && body !== null && Object.keys(body).length === 0)
}

/** What `express.raw` and `express.text` have left is parsed for our own eyes; the handler keeps what it asked for. */
function parsedBody(request: RequestLike): unknown {
  const { body } = request
  if (typeof body !== 'string' && !(body instanceof Uint8Array)) return body
  request.rawBody ??= body
  const text = typeof body === 'string' ? body : new TextDecoder().decode(body)
  if (FORM_TYPE.test(request.headers['content-type'] ?? '')) return { ...parse(text) }
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function run(parser: Parser, request: RequestLike, response: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    parser(request, response, (error) => (error ? reject(error) : resolve()))
  })
}

/** The parser has read off the rest, so the connection is fit for the answer. Its words may quote the body: ours do not. */
function refuseBody(error: unknown): Answer {
  const status = (error as { status?: unknown }).status
  if (status === 413) return refuse('body-too-large')
  return refuse('invalid-body', status === 415 ? { status } : {})
}
