/** The providers, and what a delivery holds. Pure: no store, nothing is kept. */
import { chatwoot } from './chatwoot.ts'
import { dialog360 } from './dialog360.ts'
import { discord } from './discord.ts'
import { evolution } from './evolution.ts'
import { fonnte } from './fonnte.ts'
import { github } from './github.ts'
import { gowa } from './gowa.ts'
import { greenApi } from './green-api.ts'
import { gupshup } from './gupshup.ts'
import { instagram } from './instagram.ts'
import { line } from './line.ts'
import { messenger } from './messenger.ts'
import type { IncomingDelivery, Provider, ReadMessage } from './provider.ts'
import { slack } from './slack.ts'
import { standardWebhooks } from './standard-webhooks.ts'
import { stripe } from './stripe.ts'
import { teams } from './teams.ts'
import { telegram } from './telegram.ts'
import { twilio } from './twilio.ts'
import { ultramsg } from './ultramsg.ts'
import { viber } from './viber.ts'
import { vonage } from './vonage.ts'
import { wablas } from './wablas.ts'
import { waha } from './waha.ts'
import { whacenter } from './whacenter.ts'
import { whapi } from './whapi.ts'
import { whatsappCloud } from './whatsapp-cloud.ts'

export { defineProvider, type ProviderPreset } from './define.ts'
export { fieldAt } from './fields.ts'
export type { KeyFields, KeyParts, KeyReader } from './generic.ts'
export { type IdempotencyKeyOptions, idempotencyKey } from './idempotency-key.ts'
export type {
  HandshakeAnswer,
  IncomingDelivery,
  MessageKind,
  Provider,
  ReadMessage,
  SignedDelivery,
} from './provider.ts'
export { equalsSecretly, isHexHmacSha256 } from './signature.ts'

/**
 * Every provider that is built in, in the order they are tried: first those of much traffic that one field of the
 * body tells.
 */
export const providers: readonly Provider[] = [
  whatsappCloud,
  telegram,
  messenger,
  instagram,
  twilio,
  line,
  stripe,
  teams,
  slack,
  chatwoot,
  dialog360,
  discord,
  evolution,
  fonnte,
  github,
  gowa,
  greenApi,
  gupshup,
  standardWebhooks,
  ultramsg,
  viber,
  vonage,
  wablas,
  waha,
  whacenter,
  whapi,
]

/** What {@link identify} found. */
export interface Identified {
  readonly provider: string
  /** In the order of the body; empty where the delivery is about something else (an account update). */
  readonly messages: readonly ReadMessage[]
}

/** What {@link identify} looks at. Only the body is always needed; what is absent is taken for a POST without headers. */
export type Unidentified = Partial<IncomingDelivery> & Pick<IncomingDelivery, 'body'>

/**
 * Whose delivery is this, and which messages does it hold? undefined where no provider recognises it.
 * Does not check signatures. Never throws.
 *
 * @example
 * identify({ method: 'POST', url: '/webhook', headers: {}, body })
 * // { provider: 'whatsapp-cloud', messages: [{ id: 'wamid.1', prospect: '15550002222', device: '1000', kind: 'message' }] }
 */
export function identify(delivery: Unidentified): Identified | undefined {
  const { method = 'POST', url = '/', headers = {}, body, rawBody } = delivery
  const whole: IncomingDelivery = { method, url, headers, body, rawBody }
  const provider = recognise(whole)
  return provider && { provider: provider.name, messages: provider.read(whole) }
}

/** The provider that recognises the delivery, among those whose deliveries come by its method. */
export function recognise(delivery: IncomingDelivery): Provider | undefined {
  return providers.find((provider) => comesBy(provider, delivery.method) && provider.recognises(delivery))
}

/** Do this provider's deliveries come by this method? */
export function comesBy({ methods }: Provider, method: string): boolean {
  return methods ? methods.includes(method) : method === 'POST'
}

/** The provider of this name. */
export function providerNamed(name: string): Provider | undefined {
  return providers.find((provider) => provider.name === name)
}
