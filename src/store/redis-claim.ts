/** Claims and looks: how they are put to the scripts, and what the answers mean. */

import type { Argument } from './redis-connection.ts'
import { integer, list, type Reply, type Run, text, textArgument, textOrNull, toMicros } from './redis-scripts.ts'
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
  const verdicts = await run('claim', [claims.length, ...claims.flatMap(claimArguments)])
  return verdicts.map((parts) => list(parts).map((part) => partVerdict(list(part))))
}

/** Which of these messages are completed and in retention. */
export async function look(run: Run, messages: readonly MessageAddress[]): Promise<CompletedMessage[]> {
  if (messages.length === 0) return []
  return completedMessages(await run('look', [messages.length, ...messages.map(({ key }) => key)]))
}

function claimArguments(claim: ClaimHere): Argument[] {
  const { owner, nodeId, whole, isRefused, attempt = 0, staleAfterMs, tokenAbove, parts } = claim
  const mode = isRefused ? 2 : whole ? 1 : 0
  const head = [owner, readableText(nodeId), mode, attempt, toMicros(staleAfterMs), tokenAbove, parts.length]
  return [...head, ...parts.flatMap(partArguments)]
}

function partArguments({ rows, messages, elsewhere = [] }: PartHere): Argument[] {
  return [
    rows.length,
    ...rows.flatMap((row) => [row.key, textArgument(row.prospect), textArgument(row.device)]),
    messages.length,
    ...messages.map((message) => message.key),
    elsewhere.length,
    ...elsewhere,
  ]
}

function partVerdict([outcome, done, value, holder]: Reply[]): PartVerdict {
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
