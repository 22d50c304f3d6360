/** Values as they come over the wire: always bytes, whatever a pool's options make of them elsewhere. */

/** A column as it came; undefined where a row has no such column. */
export type Value = Buffer | null | undefined

/** Text of a column that is never NULL. */
export function text(value: Value): string {
  return value?.toString('utf8') ?? ''
}

/** Text, or null for NULL. */
export function textOrNull(value: Value): string | null {
  return value?.toString('utf8') ?? null
}

/** A whole number of a column that is never NULL. Tokens are microseconds since 1970, which a double holds exactly. */
export function integer(value: Value): number {
  return Number(value?.toString('latin1') ?? 0)
}

/** A whole number, or null for NULL. */
export function integerOrNull(value: Value): number | null {
  return value ? integer(value) : null
}

/** Whole epoch milliseconds from microseconds, as people see times. */
export function milliseconds(value: Value): number {
  return Math.floor(integer(value) / 1000)
}

/** Whole epoch milliseconds from microseconds, or null for NULL. */
export function millisecondsOrNull(value: Value): number | null {
  return value ? milliseconds(value) : null
}
