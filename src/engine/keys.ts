/**
 * Keys: how messages and sessions are named in a store.
 *
 * A key is text that no two different things share and that every store can hold: the parts are
 * length-prefixed, so that none runs into the next; NUL and lone surrogates are written as escapes
 * (Postgres takes neither); a key too long for an index is hashed, and marked, so that no literal
 * key equals it.
 */
import { createHash } from 'node:crypto'
import { MAX_KEY_BYTES } from '../store/store.ts'
import { KeyError } from './errors.ts'

/** No id (message, prospect, device, provider) may be longer than this, as UTF-8. */
export const MAX_ID_BYTES = 512

/** The key of a message: provider + device + message id, and the conversation where ids are counted anew in each. */
export function messageKey(provider: string, device: string | null, id: string, within: string | null): string {
  return composeKey('m', within === null ? [provider, device, id] : [provider, device, id, within])
}

/** The key of a message without an id: provider + device + a hash of who wrote what. */
export function fingerprintKey(
  provider: string,
  device: string | null,
  prospect: string | null,
  content: unknown,
): string {
  const hash = createHash('sha256')
    .update(asJson([prospect, content]))
    .digest('base64url')
  return composeKey('f', [provider, device, hash])
}

/** Is this the key of a message without an id? It is forgotten soon, so that a second honest "1" gets through. */
export function isFingerprint(key: string): boolean {
  return key.startsWith('f:') || key.startsWith('h:f:')
}

/** A body can be nested deeper than it can be written again. */
function asJson(value: unknown): string {
  try {
    return JSON.stringify(value)
  } catch {
    throw new KeyError('content', 'is nested too deeply to be told from others')
  }
}

/** The key of a session: prospect + device. */
export function sessionKey(prospect: string, device: string | null): string {
  return composeKey('s', [device, prospect])
}

/** The key of a session that is named by one string of the user's own. */
export function namedSessionKey(name: string): string {
  return composeKey('n', [name])
}

/** What the key of a session ends with, whatever the device: that of its prospect, or of its own name. */
export function endOfSessionKey(name: string): string {
  const text = encodeText(name)
  return `${text.length}:${text}`
}

/** What a literal key was made of, in order; undefined for a hashed key. `null` where a part was absent. */
export function partsOfKey(key: string): Array<string | null> | undefined {
  const parts: Array<string | null> = []
  let at = 2
  if (key.startsWith('h:')) return undefined
  while (at < key.length) {
    const colon = key.indexOf(':', at)
    if (colon < 0) return undefined
    const length = key.slice(at, colon)
    at = colon + 1
    if (length === '-') parts.push(null)
    else {
      parts.push(decodeText(key.slice(at, at + Number(length))))
      at += Number(length)
    }
  }
  return parts
}

/** Throws a {@link KeyError} unless the value is text of 1 to 512 bytes; the error names the field. */
export function requireId(field: string, value: unknown): string {
  if (typeof value !== 'string') throw new KeyError(field, `must be a string, not ${describe(value)}`)
  if (value === '') throw new KeyError(field, 'must not be empty')
  // A UTF-16 unit is at most three bytes of UTF-8, so most ids need no count.
  if (value.length > MAX_ID_BYTES / 3 && Buffer.byteLength(value) > MAX_ID_BYTES) {
    throw new KeyError(field, `is ${Buffer.byteLength(value)} bytes long; at most ${MAX_ID_BYTES} are allowed`)
  }
  return value
}

function describe(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `a ${typeof value}`
}

function composeKey(mark: string, parts: ReadonlyArray<string | null>): string {
  let key = `${mark}:`
  for (const part of parts) {
    if (part === null) key += '-:'
    else {
      const text = encodeText(part)
      key += `${text.length}:${text}`
    }
  }
  if (key.length > MAX_KEY_BYTES / 3 && Buffer.byteLength(key) > MAX_KEY_BYTES) {
    return `h:${mark}:${createHash('sha256').update(key).digest('base64url')}`
  }
  return key
}

/** NUL, lone surrogates, and the escape sign itself; anything else stands as it is. */
const NEEDS_ESCAPE = /[\0%]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g

function encodeText(text: string): string {
  if (!text.includes('%') && !text.includes('\0') && text.isWellFormed()) return text
  return text.replace(NEEDS_ESCAPE, (char) => `%${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function decodeText(text: string): string {
  return text.replace(/%([0-9a-f]{4})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)))
}
