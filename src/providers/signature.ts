/** Secrets and signatures. Whatever is compared with a secret is compared in constant time. */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto'

/** One secret, several while one replaces another, or either of these per provider name. */
export type Secrets = string | readonly string[] | Readonly<Record<string, string | readonly string[]>>

/** The secrets that a provider's deliveries may be signed with; empty: signatures are not checked. */
export function secretsFor(secrets: Secrets | undefined, provider: string): readonly string[] {
  if (secrets === undefined) return []
  if (typeof secrets === 'string') return [secrets]
  if (isList(secrets)) return secrets
  const own = Object.hasOwn(secrets, provider) ? secrets[provider] : undefined
  return own === undefined ? [] : typeof own === 'string' ? [own] : own
}

/** `Array.isArray` does not narrow a readonly array. */
export function isList<Item>(value: readonly Item[] | object): value is readonly Item[] {
  return Array.isArray(value)
}

/** Does `header` read `<prefix><hex HMAC-SHA256 of the body>`? */
export function isHexHmacSha256(header: unknown, prefix: string, body: Uint8Array, secret: string): boolean {
  if (typeof header !== 'string' || !header.startsWith(prefix)) return false
  const hex = header.slice(prefix.length)
  if (!/^[0-9a-f]{64}$/i.test(hex)) return false
  return timingSafeEqual(Buffer.from(hex, 'hex'), createHmac('sha256', secret).update(body).digest())
}

/** The HMAC-SHA256 of parts that are signed as one text. */
export function hmacSha256(secret: string | Uint8Array, ...parts: ReadonlyArray<string | Uint8Array>): Buffer {
  const hmac = createHmac('sha256', secret)
  for (const part of parts) hmac.update(part)
  return hmac.digest()
}

/** What was signed longer ago, or is signed for later, may be somebody else's, sent again. */
const SIGNED_WITHIN_MS = 5 * 60_000

/** Was it signed within five minutes of now? `seconds`: the time of signing, as the header has it. */
export function isSignedLately(seconds: unknown, now: number): seconds is string {
  if (typeof seconds !== 'string' || !/^\d{1,12}$/.test(seconds)) return false
  return Math.abs(now - Number(seconds) * 1000) <= SIGNED_WITHIN_MS
}

/** Compares two texts of any lengths in a time that tells nothing about either. */
export function equalsSecretly(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(one), digest(other))
}
