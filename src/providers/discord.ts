/** Discord interactions: commands, buttons and forms, one a POST, each with an id of its own. */
import { createPublicKey, verify } from 'node:crypto'
import { fieldOf, firstPresent, headerOf } from './fields.ts'
import type { IncomingDelivery, MessageKind, Provider, ReadMessage, SignedDelivery } from './provider.ts'

/** Discord waits for three seconds and asks once. The answer is the reply. */
export const discord = {
  name: 'discord',
  redelivers: false,
  deadlineMs: 3000,
  replays: true,
  recognises: ({ body }: IncomingDelivery) =>
    (UNREAD.includes(fieldOf(body, 'type')) || KINDS.has(fieldOf(body, 'type'))) &&
    ['id', 'application_id', 'token'].every((name) => typeof fieldOf(body, name) === 'string') &&
    typeof fieldOf(body, 'version') === 'number',
  read({ body }: IncomingDelivery): ReadMessage[] {
    const kind = KINDS.get(fieldOf(body, 'type'))
    if (!kind) return []
    // In a server the person is a member; in a direct message there are no members.
    const people = [fieldOf(fieldOf(body, 'member'), 'user'), fieldOf(body, 'user')]
    return [
      {
        id: firstPresent(fieldOf(body, 'id')),
        prospect: firstPresent(...people.map((person) => fieldOf(person, 'id'))),
        device: firstPresent(fieldOf(body, 'application_id')),
        kind,
      },
    ]
  },
  hasPublicKey: true,
  /** The secret is the application's public key, in hex. */
  isSigned(delivery: SignedDelivery, secret: string, _now: number) {
    const signature = headerOf(delivery, 'x-signature-ed25519') ?? ''
    const time = headerOf(delivery, 'x-signature-timestamp')
    if (!/^[0-9a-f]{128}$/i.test(signature) || !/^[0-9a-f]{64}$/i.test(secret) || !time) return false
    const x = Buffer.from(secret, 'hex').toString('base64url')
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' })
    const signed = Buffer.concat([Buffer.from(time), delivery.rawBody])
    return verify(null, signed, key, Buffer.from(signature, 'hex'))
  },
  handshake: ({ body }: IncomingDelivery) =>
    fieldOf(body, 'type') === PING ? { status: 200, body: PONG, contentType: 'application/json' } : undefined,
} satisfies Provider

const PING = 1

const PONG = '{"type":1}'

/** What somebody is still typing asks for suggestions, many times a second: it must not wait for a slow reply. */
const AUTOCOMPLETE = 4

const UNREAD: readonly unknown[] = [PING, AUTOCOMPLETE]

/** By interaction type. */
const KINDS: ReadonlyMap<unknown, MessageKind> = new Map([
  [2, 'command'],
  [3, 'callback'],
  [5, 'callback'],
])
