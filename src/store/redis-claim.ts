/** Claims and looks: how they are put to the scripts, and what the answers mean. */

import { integer, list, type Reply, type Run, text, textOrNull, toMicros, type Value } from './redis-scripts.ts'
import { readableText } from './rows.ts'
import {
  type Claim,
  type ClaimPart,
  type ClaimVerdict,
  type CompletedMessage,
  type Holder,
  type MessageAddress,
  type PartVerdict,
  StoreError,
} from './store.ts'

/** What one bucket is asked of a claim: its own rows and messages. Where there is but one, that is the claim itself. */
export interface ClaimHere extends Claim {
  readonly parts: readonly PartHere[]
  /** true: it was refused elsewhere, so nothing is taken any more, and what it has here is given back. */
  readonly isRefused?: boolean
  /** Which try it is, where it needs several buckets: each has a larger number than the one before. */
  readonly attempt?: number
}

/** What of a part lies in one bucket. */
export interface PartHere extends ClaimPart {
  /** Those of its messages that are at home in other buckets: in its hands like the others, and not looked at here. */
  readonly elsewhere?: readonly string[]
}

/** One script for the whole batch. */
export async function claimBatch(run: Run, claims: readonly ClaimHere[]): Promise<ClaimVerdict[]> {
  if (claims.length === 0) return []
  const values: Value[] = [claims.length]
  for (const claim of claims) addClaim(values, claim)
  return (await run('claim', values)).map((parts) => list(parts).map(partVerdict))
}

/** Which of these messages are completed and in retention. */
export async function look(run: Run, messages: readonly MessageAddress[]): Promise<CompletedMessage[]> {
  if (messages.length === 0) return []
  return completedMessages(await run('look', [messages.length, ...messages.map(({ key }) => key)]))
}

function addClaim(values: Value[], claim: ClaimHere): void {
  const { owner, nodeId, whole, isRefused, attempt = 0, staleAfterMs, tokenAbove, parts } = claim
  const mode = isRefused ? 2 : whole ? 1 : 0
  values.push(owner, readableText(nodeId), mode, attempt, toMicros(staleAfterMs), tokenAbove, parts.length)
  for (const part of parts) addPart(values, part)
}

function addPart(values: Value[], { rows, messages, elsewhere = NONE }: PartHere): void {
  values.push(rows.length)
  for (const { key, prospect, device } of rows) values.push(key, readableText(prospect), readableText(device))
  values.push(messages.length)
  for (const { key } of messages) values.push(key)
  values.push(elsewhere.length)
  for (const key of elsewhere) values.push(key)
}

const NONE: readonly never[] = []

/** Of a part that was had from nobody, with nothing completed, the script tells the token only. */
function partVerdict(reply: Reply): PartVerdict {
  if (typeof reply === 'number') return { outcome: 'acquired', fencingToken: reply, takeover: null, completed: NONE }
  const [outcome, done, value, holder] = list(reply)
  const completed = completedMessages(list(done))
  const name = text(outcome)
  switch (name) {
    case 'acquired':
      return {
        outcome: name,
        fencingToken: integer(value),
        takeover: Array.isArray(holder) ? holderOf(holder) : null,
        completed,
      }
    case 'held':
      return { outcome: name, holder: holderOf(list(holder)), remainingMs: integer(value) / 1000, completed }
    case 'completed':
    case 'free':
      return { outcome: name, completed }
    default:
      throw new StoreError('data', `session-lock: the claim script answered ${name}`)
  }
}

function holderOf([owner, nodeId, heldFor, silentFor, messageKeys]: Reply[]): Holder {
  return {
    owner: textOrNull(owner),
    nodeId: textOrNull(nodeId),
    heldForMs: integer(heldFor) / 1000,
    silentForMs: integer(silentFor) / 1000,
    messageKeys: list(messageKeys).map(text),
  }
}

/** Keys and responses in turn. */
function completedMessages(reply: readonly Reply[]): CompletedMessage[] {
  const messages: CompletedMessage[] = []
  for (let index = 0; index < reply.length; index += 2) {
    const response = reply[index + 1]
    messages.push({ key: text(reply[index]), response: Buffer.isBuffer(response) ? response : null })
  }
  return messages
}
