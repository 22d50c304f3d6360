/**
 * Twilio (SMS, MMS, WhatsApp): one message a form. A status callback repeats the message's SID, and names the
 * person in `To`. Calls have no message: each step of one repeats its SID, so they pass, and so do Conversations.
 */
import { createHash, createHmac } from 'node:crypto'
import { fieldOf, firstPresent, headerOf, joinedId, queryOf } from './fields.ts'
import type { IncomingDelivery, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { equalsSecretly } from './signature.ts'

/** Twilio waits for fifteen seconds, then asks the fallback URL, once. The answer's TwiML is the reply. */
export const twilio = {
  name: 'twilio',
  redelivers: false,
  deadlineMs: 15_000,
  replays: true,
  recognises({ body }: IncomingDelivery) {
    const account = fieldOf(body, 'AccountSid')
    const hasParties = firstPresent(fieldOf(body, 'From'), fieldOf(body, 'To')) !== null
    return typeof account === 'string' && account.startsWith('AC') && sidOf(body) !== null && hasParties
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const status = firstPresent(fieldOf(body, 'MessageStatus'), fieldOf(body, 'SmsStatus'))
    const from = firstPresent(fieldOf(body, 'From'))
    const to = firstPresent(fieldOf(body, 'To'))
    if (status === null || INCOMING.includes(status)) {
      return [{ id: sidOf(body), prospect: from, device: to, kind: 'message' }]
    }
    const device = firstPresent(from, fieldOf(body, 'MessagingServiceSid'))
    return [{ id: joinedId(sidOf(body), status), prospect: to, device, kind: 'status' }]
  },
  isSigned(delivery: SignedDelivery, secret: string, _now: number) {
    const signature = headerOf(delivery, 'x-twilio-signature')
    if (signature === undefined) return false
    const bodyHash = queryOf(delivery.url).get('bodySHA256')
    if (bodyHash !== null && !equalsSecretly(bodyHash, createHash('sha256').update(delivery.rawBody).digest('hex'))) {
      return false
    }
    const fields = bodyHash === null ? signedFields(delivery.rawBody) : ''
    return urlsOf(delivery).some((url) =>
      equalsSecretly(signature, createHmac('sha1', secret).update(url).update(fields).digest('base64')),
    )
  },
} satisfies Provider

/** What a message has that came in; anything else is how one of the bot's own is doing. */
const INCOMING: readonly unknown[] = ['received', 'receiving']

function sidOf(body: unknown): unknown {
  return firstPresent(fieldOf(body, 'MessageSid'), fieldOf(body, 'SmsMessageSid'), fieldOf(body, 'SmsSid'))
}

/** The form's fields in the order of their names, each name before its value; of equal values one. */
function signedFields(rawBody: Uint8Array): string {
  const form = new URLSearchParams(Buffer.from(rawBody).toString('utf8'))
  const values = new Map<string, Set<string>>()
  for (const [name, value] of form) {
    const known = values.get(name)
    if (known) known.add(value)
    else values.set(name, new Set([value]))
  }
  const names = [...values.keys()].sort()
  return names
    .map((name) =>
      [...(values.get(name) ?? [])]
        .sort()
        .map((value) => name + value)
        .join(''),
    )
    .join('')
}

/**
 * The URLs that Twilio may have called: where the public origin is not known, all that the request's own headers
 * allow (a forger who chooses them still needs the secret). It signs some with the port and some without.
 */
function urlsOf(delivery: SignedDelivery): string[] {
  const hosts = [headerOf(delivery, 'x-forwarded-host')?.split(',')[0]?.trim(), headerOf(delivery, 'host')]
  const guessed = hosts.flatMap((host) => (host ? [`https://${host}`, `http://${host}`] : []))
  const origins = delivery.origin === undefined ? guessed : [delivery.origin.replace(/\/$/, '')]
  const spelled = origins.flatMap((origin) => {
    const bare = origin.replace(/:\d{1,5}$/, '')
    return [origin, bare, `${bare}${origin.startsWith('https:') ? ':443' : ':80'}`]
  })
  return [...new Set(spelled)].map((origin) => origin + delivery.url)
}
