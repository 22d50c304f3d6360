/**
 * From a request to a delivery: whose it is, whether it is signed, which messages it holds. The same for
 * every framework; nothing here touches the store.
 */
import type { Logger } from 'pino'
import type { Delivery } from '../engine/delivery.ts'
import { OptionsError } from '../engine/errors.ts'
import type { ResolvedOptions } from '../engine/options.ts'
import { defineProvider, presetProblem } from '../providers/define.ts'
import { GENERIC, readByKey } from '../providers/generic.ts'
import { providerNamed, providers, recognise } from '../providers/index.ts'
import type { IncomingDelivery, Provider } from '../providers/provider.ts'
import { isList, secretsFor } from '../providers/signature.ts'

/** What of the options a receiver goes by. */
export type ReceiveOptions = Pick<ResolvedOptions, 'provider' | 'secret' | 'key'>

/** What was received. */
export type Received =
  /** Nothing to key on: not ours. */
  | { readonly outcome: 'untouched' }
  /** A secret is set, and the delivery is not signed with it. */
  | { readonly outcome: 'unsigned'; readonly provider: string }
  /** Its provider cannot read it; `detail` tells the sender why. */
  | { readonly outcome: 'unreadable'; readonly provider: string; readonly detail: string }
  | {
      readonly outcome: 'delivery'
      readonly delivery: Delivery
      /** Whose it is; absent where the option `key` has read it. */
      readonly preset?: Provider
      /** The body with some of the messages only; absent where nobody knows how to take it apart. */
      readonly reduce?: Provider['reduce']
    }

export type Receiver = (incoming: IncomingDelivery) => Received

/** Makes the receiver. Throws an {@link OptionsError} for options that cannot work together. */
export function createReceiver(options: ReceiveOptions, log: Logger): Receiver {
  checkOptions(options)
  const { provider, secret, key } = options
  const pinned = typeof provider === 'string' ? providerNamed(provider) : defineProvider(provider)
  const nameOfKeyed = provider === 'auto' ? GENERIC : nameOf(provider)
  let warned = false

  function isForged(preset: Provider, incoming: IncomingDelivery): boolean {
    if (!preset.isSigned) return false
    const secrets = secretsFor(secret, preset.name)
    if (secrets.length === 0 && !warned) {
      warned = true
      log.warn(
        { provider: preset.name },
        'signatures are not checked: anybody can post to this webhook; set the option "secret"',
      )
    }
    if (secrets.length === 0) return false
    const { rawBody } = incoming
    if (rawBody) return !secrets.some((one) => preset.isSigned?.({ ...incoming, rawBody }, one, Date.now()))
    if (isEmpty(incoming.body)) return true
    throw new OptionsError(
      'secret',
      'needs the raw body, and it was parsed before sessionLock() without being kept. Remove that parser, or let it ' +
        "keep the bytes: import { keepRawBody } from 'session-lock', then express.json({ verify: keepRawBody })",
    )
  }

  return (incoming) => {
    const preset = provider === 'auto' ? recognise(incoming) : pinned
    if (preset && isForged(preset, incoming)) return { outcome: 'unsigned', provider: preset.name }
    const byKey = key === undefined ? [] : readByKey(key, incoming)
    if (byKey.length > 0) {
      return { outcome: 'delivery', delivery: { provider: nameOfKeyed, messages: byKey } }
    }
    if (!preset?.recognises(incoming)) return { outcome: 'untouched' }
    const detail = preset.refuses?.(incoming)
    if (detail !== undefined) return { outcome: 'unreadable', provider: preset.name, detail }
    const messages = preset.read(incoming)
    if (messages.length === 0) return { outcome: 'untouched' }
    const delivery = { provider: preset.name, messages, ...(preset.twins && { twins: true }) }
    return { outcome: 'delivery', delivery, preset, reduce: preset.reduce }
  }
}

/** Unparsed: undefined, or the `{}` that some parsers leave where they did not parse. */
function isEmpty(body: unknown): boolean {
  return body === undefined || (typeof body === 'object' && body !== null && Object.keys(body).length === 0)
}

function nameOf(provider: string | Provider): string {
  return typeof provider === 'string' ? provider : provider.name
}

function checkOptions({ provider, secret, key }: ReceiveOptions): void {
  checkProvider(provider, key)
  if (typeof key === 'object') checkFields(key)
  if (secret !== undefined) checkSecret(provider, secret, key)
}

const BUILT_IN = providers.map(({ name }) => `"${name}"`).join(', ')

function checkProvider(provider: ReceiveOptions['provider'], key: ReceiveOptions['key']): void {
  if (typeof provider !== 'string') {
    const problem = presetProblem(provider)
    if (problem !== undefined) throw new OptionsError('provider', `given as an object ${problem}`)
    return
  }
  if (provider === 'auto' || providerNamed(provider) || key !== undefined) return
  throw new OptionsError(
    'provider',
    `names none that is built in (there are: "auto", ${BUILT_IN}); give the option "key" to read another, ` +
      'or a provider of your own: defineProvider({ … })',
  )
}

/** A secret that nothing is checked with would only look like protection. */
function checkSecret(
  provider: ReceiveOptions['provider'],
  secret: NonNullable<ReceiveOptions['secret']>,
  key: ReceiveOptions['key'],
): void {
  const pinned = typeof provider === 'string' ? providerNamed(provider) : provider
  if (pinned && !pinned.isSigned && secretsFor(secret, pinned.name).length > 0) {
    throw new OptionsError('secret', `cannot be checked: provider "${pinned.name}" has no signature that is known here`)
  }
  if (typeof secret === 'string' || isList(secret)) {
    if (key === undefined || pinned) return
    throw new OptionsError(
      'secret',
      'cannot be checked on deliveries that the option "key" reads: check their signature before sessionLock(), ' +
        `and name the provider that the secret is for: { ${BUILT_IN}: secret }`,
    )
  }
  for (const name of Object.keys(secret)) {
    if (name !== pinned?.name && !providerNamed(name))
      throw new OptionsError('secret', `is given for "${name}", which is not built in; there are: ${BUILT_IN}`)
  }
}

const FIELDS: readonly string[] = ['messageId', 'prospect', 'device', 'session']

function checkFields(fields: object): void {
  const given = Object.entries(fields).filter(([, path]) => path !== undefined)
  for (const [name, path] of given) {
    if (!FIELDS.includes(name))
      throw new OptionsError('key', `has an unknown field "${name}"; there are: ${FIELDS.join(', ')}`)
    if (typeof path !== 'string' || path === '')
      throw new OptionsError('key', `takes a dotted path for ${name}: "data.id"`)
  }
  if (!given.some(([name]) => name !== 'device')) {
    throw new OptionsError('key', 'must name at least the message id, the prospect or the session')
  }
}
