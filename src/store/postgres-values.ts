/** Names and values as the statements of the Postgres store take them. */

/** The tables' and functions' names; the prefix has been checked, so they stand unquoted. */
export interface Names {
  readonly prefix: string
  readonly sessions: string
  readonly messages: string
  readonly migrations: string
  readonly backlogs: string
  readonly queued: string
  readonly sources: string
}

/** The names under a prefix. */
export function namesUnder(prefix: string): Names {
  return {
    prefix,
    sessions: `${prefix}sessions`,
    messages: `${prefix}messages`,
    migrations: `${prefix}migrations`,
    backlogs: `${prefix}backlogs`,
    queued: `${prefix}queued`,
    sources: `${prefix}sources`,
  }
}

/** Printable ASCII without what either an array or bytes would have escaped. */
const PLAIN = /^[ !#-[\]-~]*$/

/** A key as its column takes it. Plain text is read as the bytes it is of. */
export function bytes(key: string): string | Buffer {
  return PLAIN.test(key) ? key : Buffer.from(key)
}

const NEEDS_ESCAPE = /["\\]/g

/**
 * An array of numbers, booleans, texts or bytes, as the server reads it. The driver would do the same, one regular
 * expression for each element and character to escape after another, which was a tenth of all garbage.
 */
export function arrayText(values: readonly unknown[]): string {
  if (values.length === 0) return '{}'
  if (values.every(isBare)) return `{${values.join(',')}}`
  if (values.every(isPlain)) return `{"${values.join('","')}"}`
  return `{${values.map(elementText).join(',')}}`
}

const isBare = (value: unknown): boolean => typeof value === 'number' || typeof value === 'boolean'
const isPlain = (value: unknown): boolean => typeof value === 'string' && PLAIN.test(value)

function elementText(value: unknown): string {
  if (value === null) return 'NULL'
  if (value instanceof Buffer) return `"\\\\x${value.toString('hex')}"`
  return `"${String(value).replace(NEEDS_ESCAPE, '\\$&')}"`
}

/** Microseconds, whole. */
export function toMicros(milliseconds: number): number {
  return Math.round(milliseconds * 1000)
}

/** Whole epoch milliseconds from microseconds, as people see times. */
export function milliseconds(micros: number): number {
  return Math.floor(micros / 1000)
}

/** Whole epoch milliseconds from microseconds, or null for null. */
export function millisecondsOrNull(micros: number | null): number | null {
  return micros === null ? null : milliseconds(micros)
}
