/** What is stored with a completed message of one delivery, and what its duplicates are answered. */
import type { ResolvedOptions } from '../engine/options.ts'
import type { IncomingDelivery, Provider } from '../providers/provider.ts'
import { type Answer, refuse, replayedAnswer } from './decision.ts'
import { type CapturedAnswer, decodeStored, encodeStored, hashPayload } from './replay.ts'

export interface ReplayPolicy {
  /** Is the handler's answer to be kept? */
  readonly captures: boolean
  /** What goes into the store with the completion. */
  toStore(answer: CapturedAnswer | undefined): Uint8Array | undefined
  /** The answer to a duplicate with what was stored; undefined: the empty 200. */
  answerTo(stored: Uint8Array | null): Answer | undefined
}

/** The policy for one delivery. */
export function replayPolicy(
  options: Pick<ResolvedOptions, 'replay' | 'comparePayload'>,
  preset: Provider | undefined,
  incoming: IncomingDelivery,
): ReplayPolicy {
  const captures = options.replay === 'auto' ? replaysByItself(preset, incoming) : options.replay
  const compares = options.comparePayload || preset?.comparesPayload
  if (compares) return createPolicy(captures, hashPayload(incoming, preset?.comparesPayload === true))
  return captures ? CAPTURES : PLAIN
}

const PLAIN = createPolicy(false, undefined)
const CAPTURES = createPolicy(true, undefined)

function createPolicy(captures: boolean, payloadHash: string | undefined): ReplayPolicy {
  return {
    captures,
    toStore(answer) {
      if (!answer && payloadHash === undefined) return undefined
      return encodeStored({ ...(answer && { answer }), ...(payloadHash !== undefined && { payloadHash }) })
    },
    answerTo(bytes) {
      const stored = bytes && decodeStored(bytes)
      if (!stored) return undefined
      if (payloadHash !== undefined && stored.payloadHash !== undefined && stored.payloadHash !== payloadHash) {
        return refuse('other-payload')
      }
      return captures && stored.answer ? replayedAnswer(stored.answer) : undefined
    },
  }
}

function replaysByItself(preset: Provider | undefined, incoming: IncomingDelivery): boolean {
  const { replays = false } = preset ?? {}
  return typeof replays === 'function' ? replays(incoming) : replays
}
