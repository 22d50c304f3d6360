/** The order of keys that all stores write and lock in: by their bytes. */

/** In the order of their keys' bytes, as the indexes have them. */
export function sorted(keys: readonly string[]): string[] {
  return byKey(keys, (key) => key)
}

/** The same of whatever has a key. */
export function byKey<Item>(items: readonly Item[], keyOf: (item: Item) => string): Item[] {
  if (items.length < 2) return [...items]
  // Text is in the order of its UTF-8 bytes already, but for characters outside the basic plane.
  const order = items.some((item) => SURROGATE.test(keyOf(item))) ? byBytes : byText
  return [...items].sort((a, b) => order(keyOf(a), keyOf(b)))
}

const SURROGATE = /[\ud800-\udfff]/

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
