/**
 * The `Idempotency-Key` header (IETF draft): the client of an API names its request, so that it can send it
 * again without its being carried out again.
 */
import { defineProvider } from './define.ts'
import { fieldOf, firstPresent } from './fields.ts'
import type { IncomingDelivery, Provider } from './provider.ts'

/** What {@link idempotencyKey} takes. */
export interface IdempotencyKeyOptions {
  /** true: a request without the header is answered 400. Default false: it passes. */
  readonly required?: boolean
  /** Whose key it is (an account, an API token's owner), where two clients may come upon the same key. */
  readonly client?: (delivery: IncomingDelivery) => unknown
  /** true: a key without quotes is taken too, as APIs have it that are older than the draft. Default false. */
  readonly unquoted?: boolean
}

/**
 * Requests that name themselves by an `Idempotency-Key` header: the second is given the answer of the first;
 * 409 while that is still being made, 422 where its body is another, 400 where the header is no key.
 *
 * @throws TypeError for an option that is unknown or of the wrong type
 * @example
 * app.post('/orders', withSessionLock(createSessionLock({ provider: idempotencyKey({ required: true }) }), placeOrder))
 */
export function idempotencyKey(options: IdempotencyKeyOptions = {}): Provider {
  checkOptions(options)
  const { required = false, client = () => null, unquoted = false } = options
  const keyIn = (delivery: IncomingDelivery) => keyOf(headerIn(delivery), unquoted)
  return defineProvider({
    name: 'idempotency-key',
    methods: ['POST', 'PATCH'],
    replays: true,
    comparesPayload: true,
    recognises: (delivery) => required || headerIn(delivery) !== undefined,
    refuses(delivery) {
      if (headerIn(delivery) === undefined) return 'The Idempotency-Key header is missing; this request needs one.'
      if (keyIn(delivery) !== null) return undefined
      const form = unquoted ? 'one string without spaces, or one' : 'one string'
      return `The Idempotency-Key header must be ${form} in double quotes, neither empty nor "0".`
    },
    read: (delivery) => [
      { id: keyIn(delivery), prospect: null, device: firstPresent(client(delivery)), kind: 'event' },
    ],
  })
}

function headerIn({ headers }: IncomingDelivery): unknown {
  return fieldOf(headers, 'idempotency-key')
}

/** A string of structured fields (RFC 9651): printable ASCII in quotes, with `"` and `\` escaped. */
const QUOTED = /^ *"((?:[ !#-[\]-~]|\\["\\])*)" *$/

/** Printable ASCII, and nothing that could be meant as a quoted string or as several keys. */
const BARE = /^ *([!#-+\--[\]-~]+) *$/

/** null: there is none, or it names nothing. */
function keyOf(header: unknown, unquoted: boolean): string | null {
  if (typeof header !== 'string') return null
  const quoted = QUOTED.exec(header)?.[1]?.replace(/\\(["\\])/g, '$1')
  const bare = unquoted ? BARE.exec(header)?.[1] : undefined
  return firstPresent(quoted ?? bare) as string | null
}

function checkOptions(options: IdempotencyKeyOptions): void {
  const takes: Readonly<Record<keyof IdempotencyKeyOptions, string>> = {
    required: 'boolean',
    client: 'function',
    unquoted: 'boolean',
  }
  for (const [name, value] of Object.entries(options)) {
    const type = Object.hasOwn(takes, name) ? takes[name as keyof IdempotencyKeyOptions] : undefined
    if (type === undefined) throw new TypeError(`session-lock: idempotencyKey() has no option "${name}"`)
    if (value !== undefined && typeof value !== type)
      throw new TypeError(`session-lock: option "${name}" of idempotencyKey() takes a ${type}`)
  }
}
