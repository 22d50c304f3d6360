/** The options: what they mean, their defaults, and what is wrong with a value. */
import { hostname } from 'node:os'
import { type Logger, pino } from 'pino'
import type { KeyFields, KeyReader } from '../providers/generic.ts'
import type { IncomingDelivery, Provider } from '../providers/provider.ts'
import { hasTransactions, isStoreUrl, type StoreSource, WITH_TRANSACTIONS } from '../store/open.ts'
import type { Strategy } from '../store/store.ts'
import type { Alias } from './alias.ts'
import { OptionsError } from './errors.ts'
import { CHECKS, isRecord } from './option-checks.ts'
import { nodePort, type Port } from './port.ts'

/**
 * What `createSessionLock` and `sessionLock` take. Every field may be left out; `undefined` means unset.
 *
 * @example
 * const lock = createSessionLock({ store: 'sqlite:./bot.db', lockWaitMs: 1000 })
 */
export interface SessionLockOptions {
  /**
   * Where leases and handled messages are kept: `memory:`, `sqlite:./bot.db`, `mysql://…`, `mariadb://…`,
   * `postgres://…`, `redis://…`, your own pool, client or SQLite database, or a {@link Store}. Default: `SESSION_LOCK_URL`, else `memory:`
   * (one process only, forgotten at exit; a warning says so).
   */
  readonly store?: StoreSource | undefined
  /**
   * Which provider's webhooks come in: the name of one that is built in, or one of your own (`defineProvider`).
   * Default `auto`: recognised by their shape.
   */
  readonly provider?: string | Provider | undefined
  /**
   * The secret that deliveries are signed with (Meta: the app secret); several while it is being rotated;
   * or one per provider name. None: signatures are not checked, which is said once in the log.
   */
  readonly secret?: string | readonly string[] | Readonly<Record<string, string | readonly string[]>> | undefined
  /** Reads the message id, prospect and device from a delivery of a provider that is not built in. */
  readonly key?: KeyReader | KeyFields | undefined
  /** `both` (default): deduplicate messages and hold sessions; `message`: only the first; `session`: only the second. */
  readonly scope?: 'both' | 'message' | 'session' | undefined
  /** The name that a person's session goes by, where messages come under several: see {@link Alias}. */
  readonly alias?: Alias | undefined
  /**
   * `lease` (default): a handler may take as long as it likes, and needs no connection meanwhile; when it crashes
   * after a side effect, its message is handled again.
   *
   * `transaction` (MySQL, MariaDB and Postgres): a handler writes through `lease.tx`, and what it writes is
   * committed together with the mark "completed": exactly once. Each handler, and the first message that waits
   * for a session held elsewhere, needs a connection of its own for as long (see `maxTransactions`); a crash frees
   * the session at once. The answer is held back until the commit, and is 503 where that fails: at most 1 MiB of
   * it, so that a handler cannot stream. On Postgres set `client_connection_check_interval`, else a handler that is
   * killed in the middle of a statement holds its session until that is done.
   */
  readonly strategy?: Strategy | undefined
  /** With the strategy `transaction`: how many connections handlers, and those who wait, have at once. Default 10. */
  readonly maxTransactions?: number | undefined
  /** How long a duplicate in flight, or a message of a busy session, waits for its turn. Default 2000. */
  readonly lockWaitMs?: number | undefined
  /** A lease that was not renewed for this long is stale and is taken over. Default 30000. */
  readonly staleAfterMs?: number | undefined
  /** Whether a running handler's lease is renewed. Default true. */
  readonly renew?: boolean | undefined
  /**
   * A handler is given up on after this long: its signal aborts and its lease runs out. Default 300000, or `staleAfterMs`
   * where that is longer.
   */
  readonly maxHoldMs?: number | undefined
  /** How long a handled message is remembered. Default 604800000 (7 days, as long as Meta redelivers). */
  readonly retentionMs?: number | undefined
  /**
   * Whether the handler's answer is stored with the message and given again to its duplicates. Default `auto`:
   * where the provider's answer carries the reply (TwiML, a Telegram method call), and nowhere else, since
   * replaying can send a reply twice.
   */
  readonly replay?: 'auto' | boolean | undefined
  /** Whether a message id that comes again with another payload is refused with 422. Default false. */
  readonly comparePayload?: boolean | undefined
  /** The device, where the body names none (Telegram): a string, or read from the request (its route). */
  readonly device?: string | ((delivery: IncomingDelivery) => string | undefined) | undefined
  /** `answer` (default): requests that ask whether this endpoint is ours are answered; `pass`: they go to your handler. */
  readonly handshake?: 'answer' | 'pass' | undefined
  /** What Meta is told when it asks: the verify token of the app's webhook settings. */
  readonly verifyToken?: string | undefined
  /** The origin that the provider calls, `https://bot.example`, for signatures over the URL behind a proxy. */
  readonly publicOrigin?: string | undefined
  /** Answers a duplicate of a completed message in place of the empty 200. Must end the response. */
  readonly onDuplicate?: AnswerHook | undefined
  /** Answers a message whose session is busy in place of the 503. Must end the response. */
  readonly onBusy?: AnswerHook | undefined
  /** What to do while the store cannot be reached. `reject` (default): 503; `allow`: handle unprotected, logged and counted. */
  readonly onStoreError?: 'reject' | 'allow' | undefined
  /** Does this status of the handler's answer complete the message? Default: 2xx, 3xx, 400, 410 and 422. */
  readonly isSuccess?: ((status: number) => boolean) | undefined
  /** This process's name in tables and logs. Default: `NODE_ID`, else hostname-pid-start. */
  readonly nodeId?: string | undefined
  /** Tables are named `<tablePrefix>sessions` and so on. Default `session_lock_`. */
  readonly tablePrefix?: string | undefined
  /** `auto` (default): missing tables are made at start; `off`: they must be there. */
  readonly migrate?: 'auto' | 'off' | undefined
  /** A pino logger, or false for silence. Default: pino to standard output. */
  readonly logger?: Logger | false | undefined
  /** Logs show only the end of numbers and message ids (a WhatsApp message id holds the number). Default false. */
  readonly maskProspects?: boolean | undefined
  /** No call of the store takes longer than this. Default: a sixth of `staleAfterMs`, at most 5000. */
  readonly storeTimeoutMs?: number | undefined
  /**
   * Whether a connection is kept that hears when a session is free, where the store has one (Postgres, Redis). false:
   * who waits for another process asks again by himself, every 40 ms at the latest. Default true.
   */
  readonly listen?: boolean | undefined
  /**
   * How many operations one transaction writes at most. With a quarter of them it leaves even before the turn of the
   * event loop is over, so that the store is at work while the rest is read. Default 128.
   */
  readonly maxBatch?: number | undefined
  /** How many requests may wait at once in this process; those beyond are refused as busy. Default 10000. */
  readonly maxWaiters?: number | undefined
  /** How often expired messages are removed, on average. 0: never by itself. Default 60000. */
  readonly cleanupEveryMs?: number | undefined
  /** Bodies beyond this are refused where `sessionLock()` reads them itself. Default 3145728 (Meta sends up to 3 MB). */
  readonly bodyLimitBytes?: number | undefined
  /** How long `close()` lets handlers finish. Default 10000. */
  readonly closeTimeoutMs?: number | undefined
}

/** Answers in the library's place. `of` says what the message was told; `retryAfterMs` is set where it should come again. */
export type AnswerHook = (
  request: unknown,
  response: unknown,
  info: { readonly of: 'completed' | 'busy'; readonly retryAfterMs?: number },
) => unknown

type Filled<Name extends keyof SessionLockOptions> = {
  readonly [Key in Name]-?: Exclude<SessionLockOptions[Key], undefined>
}

/** The options with every default filled in. */
export interface ResolvedOptions
  extends Filled<
    | 'store'
    | 'provider'
    | 'scope'
    | 'strategy'
    | 'maxTransactions'
    | 'lockWaitMs'
    | 'staleAfterMs'
    | 'renew'
    | 'maxHoldMs'
    | 'retentionMs'
    | 'onStoreError'
    | 'replay'
    | 'comparePayload'
    | 'handshake'
    | 'nodeId'
    | 'tablePrefix'
    | 'migrate'
    | 'maskProspects'
    | 'storeTimeoutMs'
    | 'listen'
    | 'maxBatch'
    | 'maxWaiters'
    | 'cleanupEveryMs'
    | 'bodyLimitBytes'
    | 'closeTimeoutMs'
  > {
  readonly secret: SessionLockOptions['secret']
  readonly key: SessionLockOptions['key']
  readonly alias: SessionLockOptions['alias']
  readonly device: SessionLockOptions['device']
  readonly verifyToken: SessionLockOptions['verifyToken']
  readonly publicOrigin: SessionLockOptions['publicOrigin']
  readonly onDuplicate: SessionLockOptions['onDuplicate']
  readonly onBusy: SessionLockOptions['onBusy']
  readonly isSuccess: SessionLockOptions['isSuccess']
  readonly logger: Logger
  readonly port: Port
  /** The store was chosen by nobody: it is the memory store by default. */
  readonly storeIsDefault: boolean
  /** Nobody chose `lockWaitMs`: a provider that does not redeliver is waited for as long as its deadline allows. */
  readonly lockWaitIsDefault: boolean
}

const DEFAULTS = {
  provider: 'auto',
  scope: 'both',
  strategy: 'lease',
  maxTransactions: 10,
  lockWaitMs: 2000,
  staleAfterMs: 30_000,
  renew: true,
  maxHoldMs: 300_000,
  retentionMs: 604_800_000,
  onStoreError: 'reject',
  replay: 'auto',
  comparePayload: false,
  handshake: 'answer',
  tablePrefix: 'session_lock_',
  migrate: 'auto',
  maskProspects: false,
  listen: true,
  maxBatch: 128,
  maxWaiters: 10_000,
  cleanupEveryMs: 60_000,
  bodyLimitBytes: 3 * 1024 * 1024,
  closeTimeoutMs: 10_000,
} as const

/** Checks the options and fills in the defaults; throws an {@link OptionsError} that names the first wrong one. */
export function resolveOptions(options: SessionLockOptions = {}, port: Port = nodePort): ResolvedOptions {
  if (!isRecord(options)) throw new OptionsError('options', 'must be an object')
  for (const [name, value] of Object.entries(options)) {
    const check = Object.hasOwn(CHECKS, name) ? CHECKS[name as keyof SessionLockOptions] : undefined
    if (!check) throw new OptionsError(name, `is unknown; there are: ${Object.keys(CHECKS).join(', ')}`)
    if (value !== undefined && !check[0](value)) throw new OptionsError(name, `${check[1]}; got ${show(name, value)}`)
  }
  const set = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as {
    readonly [Name in keyof SessionLockOptions]: Exclude<SessionLockOptions[Name], undefined>
  }
  const fromEnvironment = process.env['SESSION_LOCK_URL'] || undefined
  if (fromEnvironment !== undefined && set.store === undefined && !isStoreUrl(fromEnvironment)) {
    throw new OptionsError('store', `(from SESSION_LOCK_URL) ${CHECKS.store[1]}`)
  }
  const staleAfterMs = set.staleAfterMs ?? DEFAULTS.staleAfterMs
  const maxHoldMs = set.maxHoldMs ?? Math.max(DEFAULTS.maxHoldMs, staleAfterMs)
  if (maxHoldMs < staleAfterMs)
    throw new OptionsError('maxHoldMs', `must not be shorter than staleAfterMs (${staleAfterMs})`)
  const store = set.store ?? fromEnvironment ?? 'memory:'
  if (set.strategy === 'transaction') requireTransactions(store, set.onStoreError)
  return {
    ...DEFAULTS,
    secret: undefined,
    key: undefined,
    alias: undefined,
    device: undefined,
    verifyToken: undefined,
    publicOrigin: undefined,
    onDuplicate: undefined,
    onBusy: undefined,
    isSuccess: undefined,
    ...set,
    maxHoldMs,
    store,
    lockWaitIsDefault: set.lockWaitMs === undefined,
    storeIsDefault: set.store === undefined && fromEnvironment === undefined,
    storeTimeoutMs: set.storeTimeoutMs ?? Math.min(5000, Math.max(10, Math.floor(staleAfterMs / 6))),
    nodeId: set.nodeId ?? defaultNodeId(),
    logger: set.logger === false ? pino({ enabled: false }) : (set.logger ?? defaultLogger()),
    port,
  }
}

function requireTransactions(store: StoreSource, onStoreError: SessionLockOptions['onStoreError']): void {
  if (!hasTransactions(store)) {
    throw new OptionsError('strategy', `can be "transaction" only where the store is ${WITH_TRANSACTIONS}`)
  }
  if (onStoreError === 'allow') {
    const problem =
      'cannot be "allow" with the strategy "transaction": a handler without its transaction has no lease.tx'
    throw new OptionsError('onStoreError', problem)
  }
}

let sharedLogger: Logger | undefined

function defaultLogger(): Logger {
  sharedLogger ??= pino({ name: 'session-lock' })
  return sharedLogger
}

const startedAt = Date.now().toString(36)

function defaultNodeId(): string {
  return process.env['NODE_ID'] || `${hostname()}-${process.pid}-${startedAt}`
}

/** The value, for an error text. Never a secret, never a password of a URL. */
function show(name: string, value: unknown): string {
  if (name === 'secret' || name === 'store') return typeof value === 'string' ? 'another string' : typeof value
  return typeof value === 'string' || typeof value === 'number' ? JSON.stringify(value) : typeof value
}
