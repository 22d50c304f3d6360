/**
 * Claims and looks on a cluster, each asked of the buckets that it concerns. Mostly that is one, and its script
 * decides as on a single server. No two buckets change at once; why a claim of several is right all the same:
 *
 * - Every message has its home beside one of its own rows, the same one for every delivery of it. That row is the
 *   message's lock, and one script takes it and looks at the message: who has it sees what is completed.
 * - Bucket after bucket is asked, in one order for all. Where one says `held`, the others are told that the claim is
 *   refused, and each gives back what it had given. So nobody holds while waiting, and of two claims that cross, who
 *   gets the first bucket that both need gets the rest.
 * - In the end all rows of a part get one token, the largest that any bucket gave: it exceeds each row's last one.
 *   A row that is ours no more by then (taken by force) sends the claim back to its start.
 * - A claim that breaks off gives back what it took. Where the answer to that is lost, it may arrive late, when the
 *   same owner has tried again and got the rows: their number of the attempt is larger by then, and it leaves them.
 */
import { type Buckets, byBucket, forEach, gather } from './redis-buckets.ts'
import { type ClaimHere, claimBatch, look, type PartHere } from './redis-claim.ts'
import { type RenewalHere, renewBatch } from './redis-settle.ts'
import {
  type Claim,
  type ClaimPart,
  type ClaimVerdict,
  type CompletedMessage,
  type Holder,
  type MessageAddress,
  type PartVerdict,
  type RenewalVerdict,
  StoreError,
} from './store.ts'

/** Which of these messages are completed and in retention. */
export async function lookSpread(buckets: Buckets, messages: readonly MessageAddress[]): Promise<CompletedMessage[]> {
  const homes = byBucket(messages, ({ home }) => buckets.of(home))
  const found = await Promise.all([...homes].map(([bucket, some]) => look(buckets.in(bucket), some)))
  return found.flat()
}

/** Each claim by itself. */
export function claimSpread(buckets: Buckets, claims: readonly Claim[]): Promise<ClaimVerdict[]> {
  const asking: Asking = { buckets, claim: gather(buckets, claimBatch), renew: gather(buckets, renewBatch) }
  return forEach(claims, (claim) => {
    const bucket = onlyBucket(buckets, claim.parts)
    if (bucket !== undefined) return asking.claim(bucket, claim)
    return claim.whole ? takeAll(asking, claim, claim.parts) : takeEach(asking, claim)
  })
}

/** One call's way to ask. */
interface Asking {
  readonly buckets: Buckets
  readonly claim: (bucket: number, claim: ClaimHere) => Promise<ClaimVerdict>
  readonly renew: (bucket: number, renewal: RenewalHere) => Promise<RenewalVerdict>
}

/** The bucket of all rows and messages, where it is one. */
function onlyBucket(buckets: Buckets, parts: readonly ClaimPart[]): number | undefined {
  const bucket = buckets.of(parts[0]?.rows[0]?.key ?? '')
  for (const { rows, messages } of parts) {
    for (const { key } of rows) if (buckets.of(key) !== bucket) return undefined
    for (const { home } of messages) if (buckets.of(home) !== bucket) return undefined
  }
  return bucket
}

/** A claim that need not be whole: each part is a claim of its own. */
async function takeEach(asking: Asking, claim: Claim): Promise<ClaimVerdict> {
  const tried = await Promise.allSettled(claim.parts.map((part) => takeAll(asking, claim, [part])))
  const failed = tried.find((one) => one.status === 'rejected')
  if (!failed) return tried.flatMap((one) => (one.status === 'fulfilled' ? one.value : []))
  const taken = claim.parts.filter((_, index) => {
    const one = tried[index]
    return one?.status === 'fulfilled' && one.value[0]?.outcome === 'acquired'
  })
  const attempt = attemptOf(asking, claim, taken)
  await giveBack(attempt, attempt.buckets)
  throw failed.reason
}

/** Takes all parts, or none where one is held. */
async function takeAll(asking: Asking, claim: Claim, parts: readonly ClaimPart[]): Promise<PartVerdict[]> {
  const verdicts = new Map<ClaimPart, PartVerdict>()
  let open = parts
  for (;;) {
    const tried = await tryAll(attemptOf(asking, claim, open))
    for (const [part, verdict] of tried) verdicts.set(part, verdict)
    const isAnyHeld = [...tried.values()].some(({ outcome }) => outcome === 'held')
    open = open.filter((part) => tried.get(part)?.outcome === 'free')
    if (isAnyHeld || open.length === 0) return parts.flatMap((part) => verdicts.get(part) ?? [])
    // What stood in their way has turned out to be completed, or is over.
  }
}

/** One try. Where parts are free and none is held, nothing is had. */
async function tryAll(attempt: Attempt): Promise<Map<ClaimPart, PartVerdict>> {
  const { buckets } = attempt
  const taken: number[] = []
  try {
    for (const bucket of buckets) {
      if (await isHeld(attempt, bucket)) {
        const others = buckets.filter((other) => other !== bucket)
        await giveBack(attempt, others)
        return verdictsOf(attempt)
      }
      taken.push(bucket)
    }
    const verdicts = verdictsOf(attempt)
    if (!isTooMuch(attempt, verdicts) && (await raiseTokens(attempt, verdicts))) return verdicts
  } catch (error) {
    await giveBack(attempt, taken)
    throw error
  }
  await giveBack(attempt, buckets)
  return verdictsOf(attempt)
}

/** Parts that are to be had together. */
interface Attempt {
  readonly asking: Asking
  readonly claim: ClaimHere
  readonly cut: readonly CutPart[]
  /** In the order in which they are asked. */
  readonly buckets: readonly number[]
}

/** A part, cut by buckets. */
interface CutPart {
  readonly part: ClaimPart
  readonly pieces: ReadonlyMap<number, PartHere>
  /** What each bucket said last. */
  readonly said: Map<number, PartVerdict>
}

/** Of this process, and so of every owner that may try again. */
let attempts = 0

function attemptOf(asking: Asking, claim: Claim, parts: readonly ClaimPart[]): Attempt {
  attempts += 1
  const cut = parts.map((part) => ({ part, pieces: piecesOf(asking.buckets, part), said: new Map() }))
  const buckets = new Set(cut.flatMap(({ pieces }) => [...pieces.keys()]))
  return {
    asking,
    claim: { ...claim, whole: true, attempt: attempts },
    cut,
    buckets: [...buckets].sort((one, other) => one - other),
  }
}

function piecesOf(buckets: Buckets, { rows, messages }: ClaimPart): Map<number, PartHere> {
  const pieces = new Map<number, PartHere>()
  for (const [bucket, here] of byBucket(rows, ({ key }) => buckets.of(key))) {
    const isAtHome = ({ home }: MessageAddress) => buckets.of(home) === bucket
    const elsewhere = messages.filter((message) => !isAtHome(message)).map(({ key }) => key)
    pieces.set(bucket, { rows: here, messages: messages.filter(isAtHome), elsewhere })
  }
  for (const { key, home } of messages) {
    if (pieces.has(buckets.of(home))) continue
    throw new StoreError('data', `session-lock: the home of the message ${key} is none of its part's rows`)
  }
  return pieces
}

/** Asks one bucket for what it has of the attempt. */
async function isHeld(attempt: Attempt, bucket: number, isRefused = false): Promise<boolean> {
  const here = attempt.cut.filter(({ pieces }) => pieces.has(bucket))
  const parts = here.map(({ pieces }) => pieces.get(bucket) as PartHere)
  const verdict = await attempt.asking.claim(bucket, { ...attempt.claim, isRefused, parts })
  for (const [index, { said }] of here.entries()) said.set(bucket, verdict[index] as PartVerdict)
  return verdict.some(({ outcome }) => outcome === 'held')
}

/** Tells these buckets that the claim is refused. */
async function giveBack(attempt: Attempt, buckets: readonly number[]): Promise<void> {
  try {
    await Promise.all(buckets.map((bucket) => isHeld(attempt, bucket, true)))
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    throw new StoreError(error.kind, error.message, { cause: error, answerLost: true })
  }
}

function verdictsOf({ cut }: Attempt): Map<ClaimPart, PartVerdict> {
  return new Map(cut.map(({ part, said }) => [part, together(part, [...said.values()])]))
}

/** What the buckets' verdicts on its pieces mean for a part. */
function together({ messages }: ClaimPart, said: readonly PartVerdict[]): PartVerdict {
  const completed = said.flatMap((verdict) => verdict.completed)
  if (messages.length > 0 && completed.length === messages.length) return { outcome: 'completed', completed }
  let fencingToken = 0
  let takeover: Holder | null = null
  let isFree = false
  for (const verdict of said) {
    if (verdict.outcome === 'held') return { ...verdict, completed }
    if (verdict.outcome !== 'acquired') isFree = true
    else {
      fencingToken = Math.max(fencingToken, verdict.fencingToken)
      takeover = verdict.takeover ?? takeover
    }
  }
  return isFree ? { outcome: 'free', completed } : { outcome: 'acquired', fencingToken, takeover, completed }
}

/** Was a row taken of a part whose messages, looked at elsewhere, turned out to be completed? */
function isTooMuch({ cut }: Attempt, verdicts: ReadonlyMap<ClaimPart, PartVerdict>): boolean {
  return cut.some(({ part, said }) => {
    if (verdicts.get(part)?.outcome !== 'completed') return false
    return [...said.values()].some(({ outcome }) => outcome === 'acquired')
  })
}

/** Gives all rows of each part the token of its verdict. false: one of them is ours no more. */
async function raiseTokens(
  { asking, claim, cut }: Attempt,
  verdicts: ReadonlyMap<ClaimPart, PartVerdict>,
): Promise<boolean> {
  const { owner, staleAfterMs } = claim
  const raised: Promise<RenewalVerdict>[] = []
  for (const { part, pieces, said } of cut) {
    const verdict = verdicts.get(part)
    if (verdict?.outcome !== 'acquired') continue
    const raisedToken = verdict.fencingToken
    for (const [bucket, piece] of said) {
      if (piece.outcome !== 'acquired' || piece.fencingToken === raisedToken) continue
      const { fencingToken } = piece
      const rows = pieces.get(bucket)?.rows.map(({ key }) => ({ key, fencingToken })) ?? []
      raised.push(asking.renew(bucket, { owner, staleAfterMs, raisedToken, rows }))
    }
  }
  return (await Promise.all(raised)).flat().every((isOurs) => isOurs)
}
