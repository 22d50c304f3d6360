/** Reading fields of bodies that strangers wrote: own properties only, any shape, no throw. */
import type { IncomingDelivery } from './provider.ts'

/** The own property of an object or array; undefined for anything else. */
export function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Record<string, unknown>)[name]
}

/** Twenty times what any provider sends at once: more of them hold next to nothing each, and are not read. */
export const MAX_MESSAGES = 20_000

/** The own property if it is an array (and no longer than any provider's), else an empty one. */
export function listOf(value: unknown, name: string): readonly unknown[] {
  const list = fieldOf(value, name)
  return Array.isArray(list) && list.length <= MAX_MESSAGES ? list : []
}

/** The field at a dotted path: `data.message.0.id`. */
export function fieldAt(value: unknown, path: string): unknown {
  let at = value
  for (const name of path.split('.')) at = fieldOf(at, name)
  return at
}

/** The first value that says something; null where none does. Gateways write `0`, `'0'` and `''` for "none". */
export function firstPresent(...values: readonly unknown[]): unknown {
  for (const value of values) {
    if (value !== undefined && value !== null && value !== '' && value !== 0 && value !== '0') return value
  }
  return null
}

/** Ids that are whole numbers in the body, as text. Anything else stays as it is, to be refused where it is no id. */
export function idText(value: unknown): unknown {
  return Number.isSafeInteger(value) && value !== 0 ? String(value) : value
}

/** The header, if it is one line of text. */
export function headerOf(delivery: Pick<IncomingDelivery, 'headers'>, name: string): string | undefined {
  const value = fieldOf(delivery.headers, name)
  return typeof value === 'string' ? value : undefined
}

/** What stands behind the `?`. Of any text: a stranger's path (`//`) need not be a URL. */
export function queryOf(url: string): URLSearchParams {
  const mark = url.indexOf('?')
  return new URLSearchParams(mark < 0 ? '' : url.slice(mark + 1))
}

/** The value that a form field holds as JSON; undefined where it holds none. */
export function jsonOf(text: unknown): unknown {
  if (typeof text !== 'string') return undefined
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/**
 * An id of several parts; those that are null are left out. A part of the wrong type is handed on alone, to be
 * refused: no two ids may become one by being made text.
 */
export function joinedId(...parts: readonly unknown[]): unknown {
  let id: string | undefined
  for (const part of parts) {
    if (part === null) continue
    if (typeof part !== 'string') return part
    id = id === undefined ? part : `${id}:${part}`
  }
  return id ?? ''
}

/** The texts and numbers of an object: what its message is told apart by, however deep the rest goes. */
export function plainFieldsOf(value: unknown): unknown[] {
  return valuesOf(value).filter((field) => typeof field === 'string' || typeof field === 'number')
}

/** The own values of an object or array; none of anything else, and none of one larger than any provider's. */
export function valuesOf(value: unknown): readonly unknown[] {
  if (typeof value !== 'object' || value === null) return []
  // Asked for first: of a hundred thousand fields, the names cost a third of what their values do.
  const size = Array.isArray(value) ? value.length : Object.keys(value).length
  return size > MAX_MESSAGES ? [] : Object.values(value)
}
