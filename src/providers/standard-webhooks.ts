/**
 * Standard Webhooks (Svix and many others): whatever the body is, three headers hold its id, which every try
 * keeps, the time, and signatures over all three.
 */
import { firstPresent, headerOf } from './fields.ts'
import type { IncomingDelivery, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { equalsSecretly, hmacSha256, isSignedLately } from './signature.ts'

/** Senders redeliver for days, each by a schedule of its own. */
export const standardWebhooks = {
  name: 'standard-webhooks',
  redelivers: true,
  /** Also without a signature: else whoever leaves it out would get past a secret. */
  recognises(delivery: IncomingDelivery) {
    const { id, time } = headersOf(delivery)
    return Boolean(id) && /^\d{1,12}$/.test(time)
  },
  read: (delivery: IncomingDelivery): ReadMessage[] => [
    { id: firstPresent(headersOf(delivery).id), prospect: null, device: null, kind: 'event' },
  ],
  isSigned(delivery: SignedDelivery, secret: string, now: number) {
    const { id, time, signatures } = headersOf(delivery)
    const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64')
    if (!id || key.length === 0 || !isSignedLately(time, now)) return false
    const expected = `v1,${hmacSha256(key, `${id}.${time}.`, delivery.rawBody).toString('base64')}`
    // Several while the secret is being rotated; those of other versions are made with other keys.
    return signatures.split(' ').some((signature) => equalsSecretly(signature, expected))
  },
} satisfies Provider

/** All of one name, or none: a mixture would be somebody's own. */
function headersOf(delivery: IncomingDelivery): { id: string; time: string; signatures: string } {
  const prefix = headerOf(delivery, 'webhook-id') === undefined ? 'svix' : 'webhook'
  const header = (name: string) => headerOf(delivery, `${prefix}-${name}`) ?? ''
  return { id: header('id'), time: header('timestamp'), signatures: header('signature') }
}
