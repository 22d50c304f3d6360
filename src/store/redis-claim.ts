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
  type PartVerdict,
  StoreError,
} from './store.ts'

/** One script for the whole batch. */
export async function claimBatch(run: Run, claims: readonly Claim[]): Promise<ClaimVerdict[]> {
  if (claims.length === 0) return []
  const verdicts = await run('claim', [claims.length, ...claims.flatMap(claimArguments)])
  return verdicts.map((parts) => list(parts).map((part) => partVerdict(list(part))))
}

/** Which of these messages are completed and in retention. */
export async function look(run: Run, keys: readonly string[]): Promise<CompletedMessage[]> {
  return keys.length === 0 ? [] : completedMessages(await run('look', [keys.length, ...keys]))
}

function claimArguments(claim: Claim): Argument[] {
  const { owner, nodeId, whole, staleAfterMs, tokenAbove, parts } = claim
  const head = [owner, readableText(nodeId), whole ? 1 : 0, toMicros(staleAfterMs), tokenAbove, parts.length]
  return [...head, ...parts.flatMap(partArguments)]
}

function partArguments({ rows, messages }: ClaimPart): Argument[] {
  return [
    rows.length,
    ...rows.flatMap((row) => [row.key, textArgument(row.prospect), textArgument(row.device)]),
    messages.length,
    ...messages.map((message) => message.key),
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
