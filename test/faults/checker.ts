/**
 * Judges a history: what handlers, providers and whoever made the faults wrote down. It shares no code with the engine,
 * and asks no store.
 */

/** Times are of the system's monotonic clock, in milliseconds. */
export type Line =
  /** A handler begins. `claimedAt`: when its claim was sent. */
  | (Run & { readonly what: 'begun'; readonly claimedAt: number; readonly token: number })
  /** It ends, before its bot answers and settles. */
  | (Run & { readonly what: 'ended'; readonly result: 'completed' | 'failed' | 'aborted' })
  | (Written & { readonly what: 'killed' | 'paused' | 'resumed' })
  /** The store, or the way to it, is out of order from `at` to `until`. */
  | { readonly what: 'outage'; readonly at: number; readonly until: number }
  /** A provider was told that this message is done with. */
  | { readonly what: 'acknowledged'; readonly at: number; readonly id: string }

interface Written {
  readonly at: number
  readonly pid: number
}

interface Run extends Written {
  readonly session: string
  readonly ids: readonly string[]
  readonly owner: string
}

type Begun = Extract<Line, { what: 'begun' }>
type Ended = Extract<Line, { what: 'ended' }>

export interface Judgement {
  readonly violations: readonly string[]
  readonly runs: number
  readonly acknowledged: number
  /** Messages that were handled to an end more often than once, each beside its fault. */
  readonly twice: readonly string[]
}

/** What a killed or paused process had not written yet was lost this long before. */
const BESIDE_MS = 3000
/** Clocks of two processes, and of the store, are read one after the other. */
const SLACK_MS = 5

export function judge(lines: readonly Line[], staleAfterMs: number): Judgement {
  const begun = lines.filter((line): line is Begun => line.what === 'begun')
  const ended = new Map(lines.filter((line): line is Ended => line.what === 'ended').map((line) => [line.owner, line]))
  const faults = lines.filter(({ what }) => what === 'killed' || what === 'paused' || what === 'outage')
  const { twice, violations } = judgeRepeats(begun, ended, faults)
  const acknowledged = new Set(lines.flatMap((line) => (line.what === 'acknowledged' ? [line.id] : [])))
  return {
    violations: [
      ...judgeSessions(begun, ended, faults, staleAfterMs),
      ...violations,
      ...judgeAcknowledged(acknowledged, [...ended.values()]),
    ],
    runs: begun.length,
    acknowledged: acknowledged.size,
    twice,
  }
}

/** No two live holders of one session, and tokens that only grow. */
function judgeSessions(
  begun: readonly Begun[],
  ended: ReadonlyMap<string, Ended>,
  faults: readonly Line[],
  staleAfterMs: number,
): string[] {
  const violations: string[] = []
  for (const runs of bySession(begun).values()) {
    // Two claims that were under way at the same time: the tokens say who was first.
    runs.sort((one, other) => one.token - other.token)
    for (const [index, run] of runs.entries()) {
      for (const earlier of runs.slice(0, index)) {
        if (earlier.token === run.token || run.at < earlier.claimedAt)
          violations.push(`${run.session}: token ${earlier.token} (${earlier.ids}) after ${run.token} (${run.ids})`)
        const end = ended.get(earlier.owner)
        if (end && end.at <= run.at) continue
        const tooEarlyMs = Math.round(liveUntil(earlier, end, faults, staleAfterMs) - SLACK_MS - run.at)
        if (tooEarlyMs > 0)
          violations.push(`${run.session}: ${run.ids} beside ${earlier.ids}, ${tooEarlyMs} ms too early`)
      }
    }
  }
  return violations
}

function bySession(begun: readonly Begun[]): Map<string, Begun[]> {
  const sessions = new Map<string, Begun[]>()
  for (const run of begun) {
    const runs = sessions.get(run.session)
    if (runs) runs.push(run)
    else sessions.set(run.session, [run])
  }
  return sessions
}

/** A lease lasts as long as it was given for; one whose heartbeat nothing hindered, until its handler's end. */
function liveUntil(run: Begun, end: Ended | undefined, faults: readonly Line[], staleAfterMs: number): number {
  const given = run.claimedAt + staleAfterMs
  if (!end || end.result === 'aborted') return given
  const isHindered = faults.some((fault) =>
    fault.what === 'outage'
      ? fault.at < end.at && fault.until > run.claimedAt
      : 'pid' in fault && fault.pid === run.pid && fault.at > run.claimedAt - BESIDE_MS && fault.at < end.at,
  )
  return isHindered ? given : Math.max(given, end.at)
}

/** What was completed is not handled again, unless the bot was stopped from saying so. */
function judgeRepeats(
  begun: readonly Begun[],
  ended: ReadonlyMap<string, Ended>,
  faults: readonly Line[],
): { twice: string[]; violations: string[] } {
  const isExcused = ({ pid, at }: Ended): boolean =>
    faults.some((line) =>
      line.what === 'outage'
        ? line.at < at + BESIDE_MS && line.until > at - BESIDE_MS
        : 'pid' in line && line.pid === pid && Math.abs(line.at - at) < BESIDE_MS,
    )
  const completions = new Map<string, Ended[]>()
  for (const run of ended.values()) {
    if (run.result !== 'completed') continue
    for (const id of run.ids) completions.set(id, [...(completions.get(id) ?? []), run])
  }
  const violations: string[] = []
  for (const run of begun) {
    for (const id of run.ids) {
      const before = completions.get(id)?.find(({ at, owner }) => at < run.claimedAt && owner !== run.owner)
      if (before && !isExcused(before)) violations.push(`${id} is handled again, though it was completed`)
    }
  }
  const twice = [...completions].filter(([, runs]) => runs.length > 1).map(([id]) => id)
  return { twice, violations }
}

/** Nothing acknowledged is lost. */
function judgeAcknowledged(acknowledged: ReadonlySet<string>, ended: readonly Ended[]): string[] {
  const completed = new Set(ended.filter(({ result }) => result === 'completed').flatMap(({ ids }) => ids))
  return [...acknowledged].filter((id) => !completed.has(id)).map((id) => `${id} is acknowledged, and lost`)
}
