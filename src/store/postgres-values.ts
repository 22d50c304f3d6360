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

/** A key as it is stored. */
export function bytes(key: string): Buffer {
  return Buffer.from(key)
}

/** The order that the database sorts keys in. */
export function compareBytes(a: Buffer, b: Buffer): number {
  return Buffer.compare(a, b)
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
