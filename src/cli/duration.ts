/** Lengths of time, as people write them. */
import { UsageError } from './command.ts'

const UNITS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Reads an option like `30s`, `5m`, `2h` or `1d`, in milliseconds. Throws a {@link UsageError}. */
export function durationOf(name: string, value: string | boolean | undefined): number | undefined {
  if (value === undefined) return undefined
  const [, number, unit] = /^(\d+)([smhd])$/.exec(String(value)) ?? []
  if (unit === undefined) throw new UsageError(`--${name} takes a duration like 30s, 5m, 2h or 1d`)
  return Number(number) * (UNITS[unit] ?? 0)
}
