/** What each option takes. */
import { isStoreUrl } from '../store/open.ts'
import { OptionsError } from './errors.ts'
import type { SessionLockOptions } from './options.ts'

/** What an option takes: the check, and the words for it. */
export type OptionCheck = readonly [(value: unknown) => boolean, string]

/** What each option takes. */
export const CHECKS: Readonly<Record<keyof SessionLockOptions, OptionCheck>> = {
  store: [
    isStoreSource,
    'takes a URL (memory:, sqlite:path, mysql://…, mariadb://…, postgres://…, redis://…), a client of your own, or a Store',
  ],
  provider: [
    (value) => isText(value) || isRecord(value),
    'takes "auto", the name of a provider, or one of your own: defineProvider({ … })',
  ],
  secret: [isSecret, 'takes a non-empty string, several in an array, or one per provider name'],
  key: [
    (value) => typeof value === 'function' || isRecord(value),
    'takes a function (request) => key, or the names of the fields',
  ],
  alias: [isFunction, 'takes a function (prospect, { provider, device }) => name'],
  scope: oneOf('both', 'message', 'session'),
  strategy: oneOf('lease', 'transaction'),
  maxTransactions: wholeNumber(1),
  lockWaitMs: milliseconds(0),
  staleAfterMs: milliseconds(100),
  renew: [isBoolean, 'takes true or false'],
  maxHoldMs: milliseconds(100),
  retentionMs: milliseconds(1),
  replay: [(value) => value === 'auto' || isBoolean(value), 'takes "auto", true or false'],
  comparePayload: [isBoolean, 'takes true or false'],
  device: [(value) => isText(value) || isFunction(value), 'takes a string or a function (delivery) => string'],
  handshake: oneOf('answer', 'pass'),
  verifyToken: [isText, 'takes a non-empty string'],
  publicOrigin: [isOrigin, 'takes an origin like https://bot.example, without a path'],
  onDuplicate: [isFunction, 'takes a function (request, response, info)'],
  onBusy: [isFunction, 'takes a function (request, response, info)'],
  onStoreError: oneOf('reject', 'allow'),
  isSuccess: [isFunction, 'takes a function (status) => boolean'],
  nodeId: [(value) => isText(value) && Buffer.byteLength(value) <= 255, 'takes a string of 1 to 255 bytes'],
  tablePrefix: [
    (value) => typeof value === 'string' && /^[A-Za-z_][A-Za-z0-9_]{0,39}$/.test(value),
    'takes letters, digits and underscores, at most 40, not starting with a digit',
  ],
  migrate: oneOf('auto', 'off'),
  logger: [(value) => value === false || isLogger(value), 'takes a pino logger or false'],
  maskProspects: [isBoolean, 'takes true or false'],
  storeTimeoutMs: milliseconds(10),
  listen: [isBoolean, 'takes true or false'],
  maxBatch: wholeNumber(1),
  maxWaiters: wholeNumber(0),
  cleanupEveryMs: milliseconds(0),
  bodyLimitBytes: wholeNumber(1),
  closeTimeoutMs: milliseconds(0),
}

function isStoreSource(value: unknown): boolean {
  return typeof value === 'string' ? isStoreUrl(value) : typeof value === 'object' && value !== null
}

function isSecret(value: unknown): boolean {
  const one = (secret: unknown) =>
    isText(secret) || (Array.isArray(secret) && secret.length > 0 && secret.every(isText))
  return one(value) || (isRecord(value) && Object.values(value).length > 0 && Object.values(value).every(one))
}

export function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== ''
}

export function isBoolean(value: unknown): boolean {
  return typeof value === 'boolean'
}

function isOrigin(value: unknown): boolean {
  return typeof value === 'string' && URL.canParse(value) && new URL(value).origin === value
}

export function isFunction(value: unknown): boolean {
  return typeof value === 'function'
}

/** An object, and no array. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isLogger(value: unknown): boolean {
  return (
    isRecord(value) && ['debug', 'info', 'warn', 'error', 'isLevelEnabled'].every((name) => isFunction(value[name]))
  )
}

/**
 * Throws an {@link OptionsError} that names the first one that is unknown or impossible. Undefined is as good as absent.
 *
 * @param whole what they are together, for who gives no object
 */
export function requireOptions<Options extends object>(
  options: Options,
  checks: Readonly<Record<string, OptionCheck>>,
  whole: string,
): Options {
  if (!isRecord(options)) throw new OptionsError(whole, 'must be an object')
  for (const [name, value] of Object.entries(options)) {
    const check = Object.hasOwn(checks, name) ? checks[name] : undefined
    if (!check) throw new OptionsError(name, `is unknown; there are: ${Object.keys(checks).join(', ')}`)
    if (value !== undefined && !check[0](value)) throw new OptionsError(name, check[1])
  }
  return options
}

export function oneOf(...words: string[]): OptionCheck {
  return [(value) => words.includes(value as string), `takes ${words.map((word) => `"${word}"`).join(' or ')}`]
}

export function milliseconds(least: number): OptionCheck {
  return [
    (value) => typeof value === 'number' && Number.isFinite(value) && value >= least,
    `takes milliseconds, a number of at least ${least}`,
  ]
}

export const aMoment: OptionCheck = [Number.isFinite, 'takes a moment in epoch milliseconds: Date.now() or the like']

export function wholeNumber(least: number): OptionCheck {
  return [
    (value) => Number.isSafeInteger(value) && (value as number) >= least,
    `takes a whole number of at least ${least}`,
  ]
}
