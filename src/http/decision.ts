/**
 * The decision table for HTTP, once, for every framework: what each outcome is answered with.
 * A handler's own answer (`acquired`) and whatever is no delivery are not in it: they pass untouched.
 */
import { ClosedError, KeyError } from '../engine/errors.ts'
import type { HandshakeAnswer } from '../providers/provider.ts'
import { reasonOf, StoreError } from '../store/store.ts'
import type { CapturedAnswer } from './replay.ts'

/** An answer of ours, ready to be sent. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array
}

/** The value of the `Session-Lock` header. */
export type OutcomeName = 'duplicate' | 'queued' | RefusalName

/** Why a delivery was refused. */
export type RefusalName =
  | 'in-flight'
  | 'busy'
  | 'invalid-key'
  | 'invalid-signature'
  | 'invalid-body'
  | 'other-payload'
  | 'body-too-large'
  | 'store-unavailable'
  | 'overloaded'
  | 'not-committed'
  | 'closing'

interface Refusal {
  readonly status: number
  readonly title: string
  /** What to do. Never anything out of the body. */
  readonly detail: string
  /** Said where nobody knows better. Absent: coming again does not help. */
  readonly retryAfterMs?: number
}

/*
 * 409 and 503 make the provider come again: the message is not handled, or not yet known to be.
 * 400, 401 and 413 will be the same next time.
 */
const REFUSALS: Readonly<Record<RefusalName, Refusal>> = {
  'in-flight': {
    status: 409,
    title: 'Message in flight',
    detail:
      'This message is being handled at this moment. Deliver it again later: if it was handled by then, the answer is 200.',
    retryAfterMs: 1000,
  },
  busy: {
    status: 503,
    title: 'Session busy',
    detail: 'Another message of this session is being handled. This one was not handled; deliver it again later.',
    retryAfterMs: 1000,
  },
  'store-unavailable': {
    status: 503,
    title: 'Store unavailable',
    detail:
      'The store that remembers handled messages cannot be reached. The message was not handled; deliver it again later.',
    retryAfterMs: 5000,
  },
  overloaded: {
    status: 503,
    title: 'Server overloaded',
    detail:
      'This server has as many deliveries in hand as it may have. The message was not stored; deliver it again later.',
    retryAfterMs: 2000,
  },
  'not-committed': {
    status: 503,
    title: 'Transaction not committed',
    detail: 'What the handler wrote was rolled back. The message was not handled; deliver it again later.',
    retryAfterMs: 1000,
  },
  closing: {
    status: 503,
    title: 'Server closing',
    detail:
      'This server takes no new messages. The message was not handled; deliver it again later, or to another server.',
    retryAfterMs: 1000,
  },
  'invalid-key': {
    status: 400,
    title: 'Invalid message key',
    detail: 'The message id, the prospect and the device must be strings of at most 512 bytes.',
  },
  'invalid-signature': {
    status: 401,
    title: 'Invalid signature',
    detail:
      'The signature is missing or does not match the body. Sign the raw body with the secret that this server was given.',
  },
  'invalid-body': {
    status: 400,
    title: 'Invalid body',
    detail: 'The body cannot be read as its Content-Type and Content-Encoding say. Send well-formed JSON or form data.',
  },
  'other-payload': {
    status: 422,
    title: 'Another payload under the same id',
    detail: 'A message with this id was handled before, and its payload was another. Send new payloads under new ids.',
  },
  'body-too-large': {
    status: 413,
    title: 'Body too large',
    detail: 'The body is larger than this server takes (option bodyLimitBytes).',
  },
}

/** The answer to a duplicate of a completed message: truly empty, since some gateways send it on as a reply. */
export const duplicateAnswer: Answer = {
  status: 200,
  headers: { 'Session-Lock': 'duplicate', 'Content-Length': '0' },
  body: '',
}

/** The answer to a delivery that the inbox keeps. Empty, as for a duplicate. */
export const queuedAnswer: Answer = {
  status: 200,
  headers: { 'Session-Lock': 'queued', 'Content-Length': '0' },
  body: '',
}

/** The answer to a provider that asks whether this endpoint is ours. Never guessed to be a page: it may hold the asker's words. */
export function handshakeAnswer({ status, body, contentType = 'text/plain; charset=utf-8' }: HandshakeAnswer): Answer {
  const length = String(Buffer.byteLength(body))
  const headers = { 'Content-Type': contentType, 'Content-Length': length, 'X-Content-Type-Options': 'nosniff' }
  return { status, headers, body }
}

/** The answer to a duplicate whose original's answer was stored: that answer again, byte for byte. */
export function replayedAnswer({ status, headers, body }: CapturedAnswer): Answer {
  const marks = { 'Session-Lock': 'duplicate', 'Idempotency-Replayed': 'true' }
  // A 204 has no body, and says nothing of its length.
  const length = status === 204 ? {} : { 'Content-Length': String(body.length) }
  return { status, headers: { ...headers, ...marks, ...length }, body }
}

/**
 * The answer to a delivery that is refused, as `application/problem+json` (RFC 9457).
 *
 * @param retryAfterMs when to come again; told in whole seconds, at least one
 * @param detail says more than the table does; must not repeat what the sender wrote
 */
export function refuse(
  name: RefusalName,
  more: { retryAfterMs?: number; detail?: string; status?: number } = {},
): Answer {
  const refusal = REFUSALS[name]
  const status = more.status ?? refusal.status
  const detail = more.detail ?? refusal.detail
  const body = JSON.stringify({ type: 'about:blank', title: refusal.title, status, detail })
  const headers: Record<string, string> = {
    'Session-Lock': name,
    'Content-Type': 'application/problem+json',
    'Content-Length': String(Buffer.byteLength(body)),
  }
  if (refusal.retryAfterMs !== undefined) {
    headers['Retry-After'] = String(Math.max(1, Math.ceil((more.retryAfterMs ?? refusal.retryAfterMs) / 1000)))
  }
  if (status === 401) headers['WWW-Authenticate'] = 'Signature'
  return { status, headers, body }
}

/** The answer to an error of a claim; undefined for errors that are not for the provider to see. */
export function refuseError(error: unknown): Answer | undefined {
  // It names the field and what is wrong with it, never the value.
  if (error instanceof KeyError)
    return refuse('invalid-key', { detail: `The delivery cannot be keyed: ${reasonOf(error)}.` })
  if (error instanceof ClosedError) return refuse('closing')
  if (error instanceof StoreError) return refuse('store-unavailable')
  return undefined
}
