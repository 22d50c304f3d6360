/** Lengths of time, as people read and write them. */
const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS
const DAY_MS = 24 * HOUR_MS

/** `0.4s`, `12s`, `3m 05s`, `2h 10m`, `4d 03h`. */
export function formatDuration(durationMs: number): string {
  const ms = Math.max(0, durationMs)
  const two = (count: number) => String(Math.floor(count)).padStart(2, '0')
  if (ms < 10 * SECOND_MS) return `${(Math.floor(ms / 100) / 10).toFixed(1)}s`
  if (ms < MINUTE_MS) return `${Math.floor(ms / SECOND_MS)}s`
  if (ms < HOUR_MS) return `${Math.floor(ms / MINUTE_MS)}m ${two((ms % MINUTE_MS) / SECOND_MS)}s`
  if (ms < DAY_MS) return `${Math.floor(ms / HOUR_MS)}h ${two((ms % HOUR_MS) / MINUTE_MS)}m`
  return `${Math.floor(ms / DAY_MS)}d ${two((ms % DAY_MS) / HOUR_MS)}h`
}

const UNITS: Readonly<Record<string, number>> = { s: SECOND_MS, m: MINUTE_MS, h: HOUR_MS, d: DAY_MS }

/** Reads `30s`, `5m`, `2h` or `1d`, in milliseconds; undefined where it is none. */
export function parseDuration(text: string): number | undefined {
  const [, number, unit = ''] = /^(\d+)([smhd])$/.exec(text) ?? []
  return number === undefined ? undefined : Number(number) * (UNITS[unit] ?? 0)
}
