/** A batch of claims, decided in the database; here only its arguments are laid out and its answer is read. */

import { heldByQueue } from './decide.ts'
import { byKey } from './key-order.ts'
import type { Query } from './postgres-connection.ts'
import { bytes, type Names, toMicros } from './postgres-values.ts'
import { encodeMessageKeys, readableText } from './rows.ts'
import type { Claim, ClaimPart, ClaimVerdict, CompletedMessage, Holder, PartVerdict, RowWanted } from './store.ts'

/** A row wanted, with the numbers (from 1) of its part and its claim. */
interface Wanted {
  readonly claim: Claim
  readonly part: ClaimPart
  readonly row: RowWanted
  readonly partNumber: number
  readonly claimNumber: number
}

/** The verdicts. */
export async function claimBatch(
  query: Query,
  names: Names,
  lockWaitMs: number,
  claims: readonly Claim[],
): Promise<ClaimVerdict[]> {
  const wanted = wantedRows(claims)
  if (wanted.length === 0) return claims.map(() => [])
  const [row] = await query({ sql: CALL(names), values: [lockWaitMs, ...argumentsOf(claims, wanted)] })
  return verdictsOf(JSON.parse(row?.[0] ?? '') as ClaimAnswer, claims, wanted)
}

/** The verdicts, from what the function has answered about these claims elsewhere. */
export function claimVerdicts(answer: ClaimAnswer, claims: readonly Claim[]): ClaimVerdict[] {
  return verdictsOf(answer, claims, wantedRows(claims))
}

function verdictsOf(answer: ClaimAnswer, claims: readonly Claim[], wanted: readonly Wanted[]): ClaimVerdict[] {
  const parts = 'rows' in answer ? readAnswer(answer, claims, wanted) : allAcquired(answer.tokens, wanted)
  let place = 0
  return claims.map((claim) => claim.parts.map(() => parts[place++] as PartVerdict))
}

const CALL = (names: Names) => `SELECT ${names.prefix}claim($1::integer, $2::bytea[], $3::integer[], $4::integer[],
  $5::boolean[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[],
  $13::bytea[], $14::integer[], $15::bytea[], $16::text[])`

/** In the order of their keys, as the function takes them. */
function wantedRows(claims: readonly Claim[]): Wanted[] {
  let partNumber = 0
  const wanted = claims.flatMap((claim, index) =>
    claim.parts.flatMap((part) => {
      partNumber++
      const numbers = { partNumber, claimNumber: index + 1 }
      return part.rows.map((row) => ({ claim, part, row, ...numbers }))
    }),
  )
  return byKey(wanted, ({ row }) => row.key)
}

function argumentsOf(claims: readonly Claim[], wanted: readonly Wanted[]): unknown[] {
  const parts = claims.flatMap((claim) => claim.parts)
  const messages = parts.flatMap((part, index) => part.messages.map(({ key }) => ({ key, partNumber: index + 1 })))
  return [
    wanted.map(({ row }) => bytes(row.key)),
    wanted.map(({ partNumber }) => partNumber),
    wanted.map(({ claimNumber }) => claimNumber),
    wanted.map(({ claim }) => claim.whole && claim.parts.length > 1),
    wanted.map(({ row }) => readableText(row.prospect)),
    wanted.map(({ row }) => readableText(row.device)),
    wanted.map(({ claim }) => claim.owner),
    wanted.map(({ claim }) => readableText(claim.nodeId)),
    wanted.map(({ part }) => encodeMessageKeys(part.messages.map(({ key }) => key))),
    wanted.map(({ claim }) => claim.tokenAbove),
    wanted.map(({ claim }) => toMicros(claim.staleAfterMs)),
    messages.map(({ key }) => bytes(key)),
    messages.map(({ partNumber }) => partNumber),
    wanted.filter(({ claim }) => !claim.fromQueue).map(({ row }) => bytes(row.key)),
    claims.some((claim) => claim.strategy === 'transaction') ? wanted.map(({ claim }) => claim.strategy) : null,
  ]
}

/** What the function answers, in the order of the rows: in short where all was free and new. */
export type ClaimAnswer = { readonly tokens: readonly number[] } | JudgedAnswer

/** A row without a token was judged, and has its answer among the others. */
interface JudgedAnswer {
  readonly tokens: ReadonlyArray<number | null>
  readonly rows: readonly RowAnswer[]
  readonly completed: ReadonlyArray<[key: string, response: string | null]>
  /** Of the messages whose session has a backlog, those that are in it. */
  readonly queued: readonly string[]
}

/** What stands after the token is there only where the row was another's. Times are microseconds. */
type RowAnswer = readonly [
  outcome: PartVerdict['outcome'],
  token: number,
  remaining?: number,
  owner?: string | null,
  nodeId?: string | null,
  messageKeys?: string,
  heldFor?: number,
  silentFor?: number,
]

function readAnswer(answer: JudgedAnswer, claims: readonly Claim[], wanted: readonly Wanted[]): PartVerdict[] {
  const completed = new Map(
    answer.completed.map(([key, response]) => [
      key,
      { key, response: response === null ? null : Buffer.from(response, 'base64') },
    ]),
  )
  const queued = new Set(answer.queued)
  const judged = answer.rows.values()
  const rowOf = new Map(
    wanted.map(({ row }, index): [string, RowAnswer] => {
      const token = answer.tokens[index] ?? null
      return [row.key, token === null ? (judged.next().value as RowAnswer) : ['acquired', token]]
    }),
  )
  return claims
    .flatMap((claim) => claim.parts)
    .map((part) => {
      const rows = part.rows.map(({ key }) => rowOf.get(key) as RowAnswer)
      const done = part.messages.map(({ key }) => completed.get(key)).filter((message) => message !== undefined)
      return partVerdict(part, rows, done, queued)
    })
}

/** Every part has one row here. */
function allAcquired(tokens: readonly number[], wanted: readonly Wanted[]): PartVerdict[] {
  const verdicts: PartVerdict[] = []
  wanted.forEach(({ partNumber }, index) => {
    const fencingToken = tokens[index] as number
    verdicts[partNumber - 1] = { outcome: 'acquired', fencingToken, takeover: null, completed: [] }
  })
  return verdicts
}

function partVerdict(
  part: ClaimPart,
  rows: readonly RowAnswer[],
  completed: readonly CompletedMessage[],
  queued: ReadonlySet<string>,
): PartVerdict {
  const [outcome, fencingToken] = rows[0] as RowAnswer
  const others = rows.filter((row) => row.length > 2)
  if (outcome === 'acquired') {
    const last = others.at(-1)
    return { outcome, fencingToken, takeover: last === undefined ? null : holderOf(last), completed }
  }
  if (outcome !== 'held') return { outcome, completed }
  const holding = others.find(([, , remaining = 0]) => remaining > 0)
  if (!holding) return heldByQueue(part, queued, completed)
  return { outcome, holder: holderOf(holding), remainingMs: (holding[2] ?? 0) / 1000, completed }
}

function holderOf([, , , owner, nodeId, messageKeys, heldFor = 0, silentFor = 0]: RowAnswer): Holder {
  return {
    owner: owner ?? null,
    nodeId: nodeId ?? null,
    heldForMs: Math.max(0, heldFor / 1000),
    silentForMs: Math.max(0, silentFor / 1000),
    messageKeys: JSON.parse(messageKeys ?? '[]') as string[],
  }
}
