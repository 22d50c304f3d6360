/**
 * From a request to a delivery: whose it is, whether it is signed, which messages it holds. The same for
 * every framework; nothing here touches the store.
 */
import type { Logger } from 'pino'
import type { Delivery, DeliveryMessage } from '../engine/delivery.ts'
import { OptionsError } from '../engine/errors.ts'
import type { ResolvedOptions } from '../engine/options.ts'
import { defineProvider, presetProblem } from '../providers/define.ts'
import { firstPresent } from '../providers/fields.ts'
import { GENERIC, readByKey } from '../providers/generic.ts'
import { comesBy, providerNamed, providers, recognise } from '../providers/index.ts'
import type { HandshakeAnswer, IncomingDelivery, Provider } from '../providers/provider.ts'
import { isList, secretsFor } from '../providers/signature.ts'

/** What of the options a receiver goes by. */
export type ReceiveOptions = Pick<
  ResolvedOptions,
  'provider' | 'secret' | 'key' | 'device' | 'handshake' | 'verifyToken' | 'publicOrigin'
>

/** What was received. */
export type Received =
  /** Nothing to key on: not ours. */
  | { readonly outcome: 'untouched' }
  /** A secret is set, and the delivery is not signed with it. */
  | { readonly outcome: 'unsigned'; readonly provider: string }
  /** The provider asks whether this endpoint is ours. */
  | { readonly outcome: 'handshake'; readonly answer: HandshakeAnswer }
  /** Its provider cannot read it; `detail` tells the sender why. */
  | { readonly outcome: 'unreadable'; readonly provider: string; readonly detail: string }
  | ReceivedDelivery

/** Messages to claim. */
export interface ReceivedDelivery {
  readonly outcome: 'delivery'
  readonly delivery: Delivery
  /** Whose it is; absent where the option `key` has read it. */
  readonly preset?: Provider
  /** The body with some of the messages only; absent where nobody knows how to take it apart. */
  readonly reduce?: Provider['reduce']
}

export type Receiver = (incoming: IncomingDelivery) => Received

/**
 * Can anything for us come by this method? POST always; GET for a handshake with a verify token; for a named
 * provider its own methods.
 */
export function takesMethod({ provider, handshake, verifyToken }: ReceiveOptions, method: string): boolean {
  if (method === 'POST' || (method === 'GET' && handshake === 'answer' && verifyToken !== undefined)) return true
  const pinned = typeof provider === 'string' ? providerNamed(provider) : provider
  return pinned !== undefined && comesBy(pinned, method)
}

/** Makes the receiver. Throws an {@link OptionsError} for options that cannot work together. */
export function createReceiver(options: ReceiveOptions, log: Logger): Receiver {
  checkOptions(options)
  const { provider, secret, key, device, verifyToken, publicOrigin } = options
  const answersHandshakes = options.handshake === 'answer'
  const pinned = typeof provider === 'string' ? providerNamed(provider) : defineProvider(provider)
  const nameOfKeyed = provider === 'auto' ? GENERIC : nameOf(provider)
  let warned = false
  let warnedOfUnchecked = false

  function isForged(preset: Provider, incoming: IncomingDelivery): boolean {
    const secrets = secretsFor(secret, preset.name)
    if (!preset.isSigned) {
      // Else a stranger could get past the check by dressing up as a provider that signs nothing.
      if (secrets.length > 0) log.warn({ provider: preset.name }, UNCHECKABLE)
      return secrets.length > 0
    }
    if (preset.hasPublicKey && !pinned && (typeof secret === 'string' || isList(secret ?? {}))) {
      throw new OptionsError(
        'secret',
        `is a public key for ${preset.name}, with which anybody could sign for the others: give it as ` +
          `{ ${preset.name}: key }, or set provider: '${preset.name}'`,
      )
    }
    if (secrets.length === 0 && !warned) {
      warned = true
      log.warn(
        { provider: preset.name },
        'signatures are not checked: anybody can post to this webhook; set the option "secret"',
      )
    }
    if (secrets.length === 0) return false
    // What comes by GET is signed in its address.
    const rawBody = incoming.rawBody ?? (incoming.method === 'GET' ? new Uint8Array() : undefined)
    if (rawBody) return !secrets.some((one) => preset.isSigned?.({ ...incoming, rawBody }, one, Date.now()))
    if (isEmpty(incoming.body)) return true
    throw new OptionsError(
      'secret',
      'needs the raw body, and it was parsed before sessionLock() without being kept. Remove that parser, or let it ' +
        "keep the bytes: import { keepRawBody } from 'session-lock', then express.json({ verify: keepRawBody })",
    )
  }

  /** Said once: some providers are known by their headers alone, and a stranger leaves them out. */
  function warnOfUnchecked(): void {
    if (warnedOfUnchecked) return
    warnedOfUnchecked = true
    log.warn(
      'a secret is set, and a POST that no provider recognises passed unchecked; set the option "provider" to refuse those',
    )
  }

  /** Meta asks by GET, before any delivery, so that nothing but the query tells whose it is. */
  function handshakeByGet(incoming: IncomingDelivery): HandshakeAnswer | undefined {
    if (incoming.method !== 'GET' || !answersHandshakes || (!pinned && verifyToken === undefined)) return undefined
    for (const one of pinned ? [pinned] : providers) {
      const answer = one.handshake?.(incoming, verifyToken)
      if (answer) return answer
    }
    return undefined
  }

  /** The device that the body does not name. */
  function withDevice(messages: readonly DeliveryMessage[], incoming: IncomingDelivery): readonly DeliveryMessage[] {
    if (device === undefined) return messages
    const named = typeof device === 'string' ? device : device(incoming)
    return messages.map((message) => (firstPresent(message.device) === null ? { ...message, device: named } : message))
  }

  return (request) => {
    const incoming = publicOrigin === undefined ? request : { ...request, origin: publicOrigin }
    const asked = handshakeByGet(incoming)
    if (asked) return { outcome: 'handshake', answer: asked }
    if (!pinned && incoming.method !== 'POST') return { outcome: 'untouched' }
    const preset = provider === 'auto' ? recognise(incoming) : pinned
    if (pinned && key === undefined && !comesBy(pinned, incoming.method)) return { outcome: 'untouched' }
    if (preset && isForged(preset, incoming)) return { outcome: 'unsigned', provider: preset.name }
    const answer = answersHandshakes ? preset?.handshake?.(incoming, verifyToken) : undefined
    if (answer) return { outcome: 'handshake', answer }
    const byKey = key === undefined ? [] : readByKey(key, incoming)
    if (byKey.length > 0) {
      return { outcome: 'delivery', delivery: { provider: nameOfKeyed, messages: withDevice(byKey, incoming) } }
    }
    if (!preset?.recognises(incoming)) {
      if (!preset && secret !== undefined) warnOfUnchecked()
      return { outcome: 'untouched' }
    }
    const detail = preset.refuses?.(incoming)
    if (detail !== undefined) return { outcome: 'unreadable', provider: preset.name, detail }
    const messages = withDevice(preset.read(incoming), incoming)
    if (messages.length === 0) return { outcome: 'untouched' }
    const delivery = { provider: preset.name, messages, twins: preset.twins === true }
    return { outcome: 'delivery', delivery, preset, reduce: preset.reduce }
  }
}

const UNCHECKABLE =
  'a secret is set, and this provider signs nothing that is known here: refused. Where its deliveries are wanted ' +
  'unsigned, give the secret to the providers it belongs to: { "whatsapp-cloud": secret }'

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
