/** The URL of a store, as people write it: with a password that may hold anything. */
import { reasonOf, StoreError } from './store.ts'

const ESCAPES = 'in a user or a password, @ / ? # and % are written %40 %2F %3F %23 and %25'

/**
 * Reads it. Throws a {@link StoreError} of kind `setup` where it cannot be read for certain, which tells `problem` and
 * holds nothing of the URL.
 */
export function readStoreUrl(text: string, problem: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || isCutShort(url)) throw new StoreError('setup', `${problem}; ${ESCAPES}`)
  return url
}

/** A password that holds `/`, `?` or `#` unescaped ends the host too early, and its `@` is left over. */
export function isCutShort({ username, pathname, search, searchParams, hash }: URL): boolean {
  if (hash !== '' || pathname.includes('@')) return true
  // A value may hold one, where there is a user before the host.
  return username === '' ? search.includes('@') : [...searchParams.keys()].some((name) => name.includes('@'))
}

/** What a driver makes of it, before it connects. `name`: without the password. Throws a {@link StoreError} of kind `setup`. */
export function makeOfUrl<Made>(name: string, make: () => Made): Made {
  try {
    return make()
  } catch (cause) {
    const why = cause instanceof URIError ? ESCAPES : reasonOf(cause)
    throw new StoreError('setup', `session-lock: the URL of ${name} is not usable: ${why}`, { cause })
  }
}
