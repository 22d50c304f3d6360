/** What Meta's products share: the GET that asks whether an endpoint is ours. */
import { queryOf } from './fields.ts'
import type { HandshakeAnswer, IncomingDelivery } from './provider.ts'
import { equalsSecretly } from './signature.ts'

/** `hub.challenge` back to whoever knows the verify token, 403 to anybody else; undefined for what is no handshake. */
export function metaHandshake(
  delivery: IncomingDelivery,
  verifyToken: string | undefined,
): HandshakeAnswer | undefined {
  if (delivery.method !== 'GET') return undefined
  const query = queryOf(delivery.url)
  const challenge = query.get('hub.challenge')
  if (query.get('hub.mode') !== 'subscribe' || challenge === null) return undefined
  const isOurs = verifyToken !== undefined && equalsSecretly(query.get('hub.verify_token') ?? '', verifyToken)
  return isOurs ? { status: 200, body: challenge } : { status: 403, body: '' }
}
