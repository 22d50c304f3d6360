/**
 * GitHub: one event a POST. Its id stands in a header, and a redelivery by hand keeps it. An event is about a
 * repository or an organization, not about a conversation.
 */
import { fieldOf, firstPresent, headerOf, jsonOf } from './fields.ts'
import type { IncomingDelivery, Provider, ReadMessage, SignedDelivery } from './provider.ts'
import { isHexHmacSha256 } from './signature.ts'

/** GitHub waits for ten seconds and never delivers again by itself. */
export const github = {
  name: 'github',
  redelivers: false,
  deadlineMs: 10_000,
  recognises: (delivery: IncomingDelivery) =>
    Boolean(headerOf(delivery, 'x-github-event') && headerOf(delivery, 'x-github-delivery')),
  read(delivery: IncomingDelivery): ReadMessage[] {
    const id = firstPresent(headerOf(delivery, 'x-github-delivery'))
    return [{ id, prospect: null, device: deviceOf(delivery.body), kind: 'event' }]
  },
  isSigned: ({ headers, rawBody }: SignedDelivery, secret: string, _now: number) =>
    isHexHmacSha256(fieldOf(headers, 'x-hub-signature-256'), 'sha256=', rawBody, secret),
} satisfies Provider

/** Hooks of a repository and of its organization tell of one event under one id: the body names the same for both. */
function deviceOf(body: unknown): unknown {
  const event = jsonOf(fieldOf(body, 'payload')) ?? body
  return firstPresent(
    fieldOf(fieldOf(event, 'repository'), 'full_name'),
    fieldOf(fieldOf(event, 'organization'), 'login'),
  )
}
