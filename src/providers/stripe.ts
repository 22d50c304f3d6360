/**
 * Stripe: one event a POST, which is about an account and not about a conversation. An event's id stays the
 * same on every try. Events of a connected account name it.
 */
import { fieldOf, firstPresent, headerOf } from './fields.ts'
import type { IncomingDelivery, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { equalsSecretly, hmacSha256, isSignedLately } from './signature.ts'

/** Events that carry their object, and those that only name it. */
const ENVELOPES: readonly unknown[] = ['event', 'v2.core.event']

/** Stripe redelivers for three days whatever was not answered 2xx. */
export const stripe = {
  name: 'stripe',
  redelivers: true,
  recognises({ body }: IncomingDelivery) {
    const id = fieldOf(body, 'id')
    return ENVELOPES.includes(fieldOf(body, 'object')) && typeof id === 'string' && id.startsWith('evt_')
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const id = firstPresent(fieldOf(body, 'id'))
    return [{ id, prospect: null, device: firstPresent(fieldOf(body, 'account')), kind: 'event' }]
  },
  isSigned(delivery: SignedDelivery, secret: string, now: number) {
    const fields = (headerOf(delivery, 'stripe-signature') ?? '').split(',').map((field) => field.trim())
    const valuesOf = (name: string) =>
      fields.filter((field) => field.startsWith(`${name}=`)).map((field) => field.slice(name.length + 1))
    const [time] = valuesOf('t')
    if (!isSignedLately(time, now)) return false
    const expected = hmacSha256(secret, `${time}.`, delivery.rawBody).toString('hex')
    // Two while the endpoint's secret is being rolled.
    return valuesOf('v1').some((signature) => equalsSecretly(signature, expected))
  },
} satisfies Provider
