/** The URL of a store, as people write it: with a password that may hold anything. */
import { StoreError } from './store.ts'

const ADVICE = 'in a user or a password, @ / ? # and % are written %40 %2F %3F %23 and %25'

/**
 * Reads it. Throws a {@link StoreError} of kind `setup` where it cannot be read for certain, which tells `problem` and
 * holds nothing of the URL.
 */
export function readStoreUrl(text: string, problem: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (!url || isCutShort(url)) throw new StoreError('setup', `${problem}; ${ADVICE}`)
  return url
}

/** A password that holds `/`, `?` or `#` unescaped ends the host too early, and its `@` is left over. */
export function isCutShort({ username, pathname, search, searchParams, hash }: URL): boolean {
  if (hash !== '' || pathname.includes('@')) return true
  // A value may hold one, where there is a user before the host.
  return username === '' ? search.includes('@') : [...searchParams.keys()].some((name) => name.includes('@'))
}
