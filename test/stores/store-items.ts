import type { Claim, MessageAddress, PartVerdict, Settlement, Store } from '../../src/store/store.ts'

/** A claim of one message of one session. */
export function claimOf(owner: string, session: string, message: string, over: Partial<Claim> = {}): Claim {
  return {
    owner,
    nodeId: 'node-1',
    parts: [
      {
        rows: [{ key: session, prospect: session, device: 'd' }],
        messages: [{ key: message, home: session, provider: 'p', device: 'd', id: message }],
      },
    ],
    whole: true,
    staleAfterMs: 1000,
    tokenAbove: 0,
    ...over,
  }
}

/** The settlement of such a claim: completed unless said otherwise. */
export function settlementOf(
  owner: string,
  session: string,
  message: string,
  fencingToken: number,
  over: Partial<Settlement> = {},
): Settlement {
  return {
    owner,
    nodeId: 'node-1',
    rows: [{ key: session, fencingToken }],
    messages: [{ key: message, home: session, provider: 'p', device: 'd', id: message }],
    outcome: 'completed',
    retentionMs: 10_000,
    error: null,
    response: null,
    ...over,
  }
}

/** Messages to look at. Where their home is matters only to a store of several servers. */
export function addresses(messages: readonly string[], home = 's'): MessageAddress[] {
  return messages.map((key) => ({ key, home }))
}

/** Claims alone. */
export async function ask(store: Store, claim: Claim): Promise<PartVerdict> {
  const [verdict] = await store.claim([claim])
  const part = verdict?.[0]
  if (!part) throw new Error('no verdict')
  return part
}

/** Claims alone, and must get it. Returns the fencing token. */
export async function acquire(store: Store, claim: Claim): Promise<number> {
  const part = await ask(store, claim)
  if (part.outcome !== 'acquired') throw new Error(`not acquired: ${part.outcome}`)
  return part.fencingToken
}
