/** Options that are lengths of time. */
import { parseDuration } from '../engine/duration.ts'
import { UsageError } from './command.ts'

/** Reads an option like `30s`, `5m`, `2h` or `1d`, in milliseconds. Throws a {@link UsageError}. */
export function durationOf(name: string, value: string | boolean | undefined): number | undefined {
  if (value === undefined) return undefined
  const durationMs = parseDuration(String(value))
  if (durationMs === undefined) throw new UsageError(`--${name} takes a duration like 30s, 5m, 2h or 1d`)
  return durationMs
}
