/**
 * Replay: a handler's answer kept with its message, for the duplicates that come later. And the hash of
 * what was delivered, so that another payload under the same id can be told from a redelivery.
 */
import { createHash } from 'node:crypto'
import type { IncomingDelivery } from '../providers/provider.ts'

/** What is kept with a completed message. */
export interface StoredAnswer {
  /** Absent: only the payload's hash was kept. */
  readonly answer?: CapturedAnswer
  /** Of the payload that the message came with. */
  readonly payloadHash?: string
}

/** An answer as a handler gave it. */
export interface CapturedAnswer {
  readonly status: number
  /** Those of {@link KEPT_HEADERS} that it had. */
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

/** What a provider reads of an answer; cookies, dates and the connection's own headers are not replayed. */
export const KEPT_HEADERS: readonly string[] = [
  'content-type',
  'content-encoding',
  'content-language',
  'content-disposition',
  'location',
]

/** A larger answer is not kept; its duplicates are answered 200 and empty. */
export const MAX_KEPT_BYTES = 64 * 1024

/** The length of the head, the head as JSON, the body as it is. */
export function encodeStored({ answer, payloadHash }: StoredAnswer): Uint8Array {
  const head = Buffer.from(JSON.stringify({ status: answer?.status, headers: answer?.headers, payloadHash }))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(head.length)
  return Buffer.concat([length, head, answer?.body ?? Buffer.alloc(0)])
}

/** Undefined for bytes that no {@link encodeStored} has written. */
export function decodeStored(bytes: Uint8Array): StoredAnswer | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (buffer.length < 4) return undefined
  const end = 4 + buffer.readUInt32BE(0)
  try {
    const { status, headers, payloadHash } = JSON.parse(buffer.subarray(4, end).toString('utf8')) as {
      status?: number
      headers?: Record<string, string>
      payloadHash?: string
    }
    const answer =
      status === undefined ? {} : { answer: { status, headers: headers ?? {}, body: buffer.subarray(end) } }
    return { ...answer, ...(payloadHash !== undefined && { payloadHash }) }
  } catch {
    return undefined
  }
}

/**
 * A payload's hash: of its bytes where they were kept, else of what they were parsed to; `withTarget`: and of what the
 * request was for.
 */
export function hashPayload(
  { method, url, rawBody, body }: Pick<IncomingDelivery, 'method' | 'url' | 'rawBody' | 'body'>,
  withTarget: boolean,
): string {
  const hash = createHash('sha256')
  if (withTarget) hash.update(`${method} ${url}\n`)
  return hash.update(rawBody ?? JSON.stringify(body) ?? '').digest('base64url')
}

/** Keeps what a handler writes, up to {@link MAX_KEPT_BYTES}; nothing at all beyond it. */
export interface Capture {
  add(chunk: unknown, encoding?: unknown): void
  /** The whole body; undefined where it was too large. */
  body(): Uint8Array | undefined
}

export function createCapture(): Capture {
  const chunks: Buffer[] = []
  let bytes = 0
  return {
    add(chunk, encoding) {
      if (bytes > MAX_KEPT_BYTES) return
      const buffer = bufferOf(chunk, encoding)
      bytes += buffer.length
      if (bytes > MAX_KEPT_BYTES) chunks.length = 0
      else chunks.push(buffer)
    },
    body: () => (bytes > MAX_KEPT_BYTES ? undefined : Buffer.concat(chunks)),
  }
}

/** A copy: a handler may fill its buffer anew once it is written. */
function bufferOf(chunk: unknown, encoding: unknown): Buffer {
  if (chunk instanceof Uint8Array) return Buffer.from(chunk)
  if (typeof chunk !== 'string') return Buffer.alloc(0)
  return Buffer.from(chunk, typeof encoding === 'string' ? (encoding as BufferEncoding) : 'utf8')
}
