/** Who may look: passwords over HTTP, and requests that another site makes in somebody's name. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { OptionsError } from '../engine/errors.ts'
import type { Authorized } from './options.ts'

/** A request of either kind of framework, as far as its headers go. */
type WithHeaders = Pick<IncomingMessage, 'headers'> | { readonly headers: { get(name: string): string | null } }

/**
 * For `authorize`: names and passwords, asked for by the browser itself. Use it over HTTPS only.
 *
 * @throws {@link OptionsError} where no password is given, or an empty one.
 * @example
 * app.use('/locks', adminRouter({ lock, authorize: basicAuth({ ops: process.env.ADMIN_PASSWORD }) }))
 */
export function basicAuth(
  passwords: Readonly<Record<string, string | undefined>>,
): (request: WithHeaders) => Authorized {
  const users = Object.entries(passwords)
  if (users.length === 0) throw new OptionsError('basicAuth', 'takes at least one name with its password')
  for (const [name, password] of users) {
    if (typeof password !== 'string' || password === '') {
      throw new OptionsError(
        'basicAuth',
        `has no password for ${JSON.stringify(name)}; is its environment variable set?`,
      )
    }
  }
  return (request) => {
    const [scheme, encoded = ''] = (headerOf(request, 'authorization') ?? '').split(' ')
    const [given, ...rest] = Buffer.from(scheme?.toLowerCase() === 'basic' ? encoded : '', 'base64')
      .toString()
      .split(':')
    const user = users.find(([name]) => name === given)
    const isRight = isSame(rest.join(':'), user?.[1] ?? '') && user !== undefined
    return isRight ? given : { challenge: 'Basic realm="session-lock", charset="UTF-8"' }
  }
}

function isSame(one: string, other: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(hash(one), hash(other))
}

function headerOf({ headers }: WithHeaders, name: string): string | undefined {
  if ('get' in headers && typeof headers.get === 'function') return headers.get(name) ?? undefined
  const value = (headers as IncomingMessage['headers'])[name]
  return Array.isArray(value) ? value[0] : value
}

/**
 * Does a request that changes something come from our own page, or from a program? Another site's page can send forms
 * in its visitor's name, but neither JSON (without asking first, which is not answered) nor these headers.
 */
export function isOurs(header: (name: string) => string | undefined): boolean {
  if (!/^application\/json\b/i.test(header('content-type') ?? '')) return false
  const site = header('sec-fetch-site')
  if (site !== undefined) return site === 'same-origin' || site === 'none'
  const origin = header('origin')
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === header('host'))
}
