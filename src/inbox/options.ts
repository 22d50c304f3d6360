/** The options of an inbox: what they mean, and what they are unless set. */
import { OptionsError } from '../engine/errors.ts'
import type { Lease } from '../engine/lease.ts'
import type { SessionLock } from '../engine/lock.ts'
import {
  isFunction,
  milliseconds,
  type OptionCheck,
  oneOf,
  requireOptions,
  wholeNumber,
} from '../engine/option-checks.ts'
import type { MessageKind } from '../providers/provider.ts'
import type { TransactionClient } from '../store/transactions.ts'

/** A message as the handler gets it. */
export interface InboxMessage {
  readonly id: string
  readonly provider: string
  readonly prospect: string | null
  readonly device: string | null
  readonly kind: MessageKind
  /** When it was stored, by the store's clock: epoch milliseconds. */
  readonly receivedAt: number
  /** How often its handling was begun, this time included. */
  readonly attempt: number
  /** The body it came in, with the other messages of the delivery left out where the provider's shape is known. */
  readonly payload: unknown
}

/** What a handler gets in one call: never none. */
export type InboxMessages = readonly [InboxMessage, ...InboxMessage[]]

/**
 * Handles the first message of a session, or, when gathering, several in the order of their arrival. What it throws
 * makes them come again, or die after `maxAttempts`. `Tx`: what the lock's leases have as `lease.tx`.
 */
export type InboxHandler<Tx = TransactionClient | undefined> = (messages: InboxMessages, lease: Lease<Tx>) => unknown

export interface InboxOptions<Tx = TransactionClient | undefined> {
  /** The lock whose store keeps the messages: SQLite, MySQL, MariaDB or Postgres. */
  readonly lock: SessionLock<Tx>
  readonly handler: InboxHandler<Tx>
  /** How many sessions this process handles at once. Default 10. */
  readonly concurrency?: number | undefined
  /** How often a message is begun before it is dead. Default 8. */
  readonly maxAttempts?: number | undefined
  /** The first distance between two attempts; each is twice the one before. Default 1000. */
  readonly retryAfterMs?: number | undefined
  /** The longest distance between two attempts. Default 300000. */
  readonly retryMostMs?: number | undefined
  /** false: an error that trying again does not mend; the message is dead at once. Default: every error may be mended. */
  readonly retryable?: ((error: unknown) => boolean) | undefined
  /** When a message is dead, its session goes on with the next one, or stops until `retry` or `discard`. Default `go-on`. */
  readonly onDead?: 'go-on' | 'stop' | undefined
  /** A session is handled when nothing more has come for this long: "hey", "quick question", "how do I …" in one call. Default 0: at once, one message a call. */
  readonly gatherMs?: number | undefined
  /** But no later than this after the first. Default five times `gatherMs`. */
  readonly gatherMaxMs?: number | undefined
  /** At most so many messages in one call when gathering. Default 50. */
  readonly gatherMost?: number | undefined
  /** What a newer message does to the running handler of its session: wait behind it, or abort its signal (with `gatherMs`). Default `queue`. */
  readonly onNewer?: 'queue' | 'abort' | undefined
  /** How often a node looks for work by itself: what other nodes received, what is due again. Default 250. */
  readonly pollMs?: number | undefined
  /** Deliveries that may be read and stored at once; those beyond are answered 503. Default 1000. */
  readonly maxInFlight?: number | undefined
  /** How long a completed message is remembered. Default: the lock's `retentionMs`. */
  readonly completedRetentionMs?: number | undefined
  /** How long a dead one is kept. Default 2592000000: 30 days. */
  readonly deadRetentionMs?: number | undefined
  /** Changes a payload before it is stored: leaves out what need not be kept. */
  readonly redact?:
    | ((payload: unknown, message: { readonly provider: string; readonly kind: MessageKind }) => unknown)
    | undefined
  /** Encrypts what is stored of a message. Needs `decrypt`. */
  readonly encrypt?: ((bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>) | undefined
  readonly decrypt?: ((bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>) | undefined
}

/** The options with every default filled in. */
export interface ResolvedInboxOptions {
  readonly handler: InboxHandler
  readonly concurrency: number
  readonly maxAttempts: number
  readonly backoff: { readonly firstMs: number; readonly mostMs: number }
  readonly retryable: (error: unknown) => boolean
  readonly onDead: 'go-on' | 'stop'
  readonly gather: { readonly quietMs: number; readonly mostMs: number } | null
  readonly messagesEach: number
  readonly onNewer: 'queue' | 'abort'
  readonly pollMs: number
  readonly maxInFlight: number
  readonly completedRetentionMs: number
  readonly deadRetentionMs: number
  readonly redact: InboxOptions['redact']
  readonly encrypt: InboxOptions['encrypt']
  readonly decrypt: InboxOptions['decrypt']
}

const aFunction: OptionCheck = [isFunction, 'takes a function']

const CHECKS: Readonly<Record<keyof InboxOptions, OptionCheck>> = {
  lock: [
    (value) => typeof value === 'object' && value !== null && 'claim' in value,
    'takes a lock: createSessionLock({ … })',
  ],
  handler: [isFunction, 'takes a function (messages, lease)'],
  concurrency: wholeNumber(1),
  maxAttempts: wholeNumber(1),
  retryAfterMs: milliseconds(0),
  retryMostMs: milliseconds(0),
  retryable: aFunction,
  onDead: oneOf('go-on', 'stop'),
  gatherMs: milliseconds(0),
  gatherMaxMs: milliseconds(0),
  gatherMost: wholeNumber(1),
  onNewer: oneOf('queue', 'abort'),
  pollMs: milliseconds(10),
  maxInFlight: wholeNumber(1),
  completedRetentionMs: milliseconds(1),
  deadRetentionMs: milliseconds(1),
  redact: aFunction,
  encrypt: aFunction,
  decrypt: aFunction,
}

const REQUIRED = ['lock', 'handler'] as const

/** Checks the options and fills in the defaults; throws an {@link OptionsError} that names the first wrong one. */
export function resolveInboxOptions<Tx>(options: InboxOptions<Tx>): ResolvedInboxOptions {
  requireOptions(options, CHECKS, 'options')
  for (const name of REQUIRED)
    if (options[name] === undefined) throw new OptionsError(name, `is missing: it ${CHECKS[name][1]}`)
  if ((options.encrypt === undefined) !== (options.decrypt === undefined)) {
    throw new OptionsError('encrypt', 'and "decrypt" go together: what is written must be read again')
  }
  const { gatherMs = 0, retryAfterMs = 1000 } = options
  const gathers = gatherMs > 0
  if (options.onNewer === 'abort' && !gathers) {
    throw new OptionsError('onNewer', '"abort" needs gatherMs: without it no call has more than one message')
  }
  return {
    // The leases that it will get are this lock's.
    handler: options.handler as InboxHandler,
    concurrency: options.concurrency ?? 10,
    maxAttempts: options.maxAttempts ?? 8,
    backoff: { firstMs: retryAfterMs, mostMs: Math.max(retryAfterMs, options.retryMostMs ?? 300_000) },
    retryable: options.retryable ?? (() => true),
    onDead: options.onDead ?? 'go-on',
    gather: gathers ? { quietMs: gatherMs, mostMs: Math.max(gatherMs, options.gatherMaxMs ?? gatherMs * 5) } : null,
    messagesEach: gathers ? (options.gatherMost ?? 50) : 1,
    onNewer: options.onNewer ?? 'queue',
    pollMs: options.pollMs ?? 250,
    maxInFlight: options.maxInFlight ?? 1000,
    completedRetentionMs: options.completedRetentionMs ?? options.lock.options.retentionMs,
    deadRetentionMs: options.deadRetentionMs ?? 30 * 24 * 3600 * 1000,
    redact: options.redact,
    encrypt: options.encrypt,
    decrypt: options.decrypt,
  }
}
