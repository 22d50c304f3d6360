/** The end of a handler's transaction by success: its writes and the settlements in one commit, or nothing of them. */
import type { Settlement, SettlementVerdict } from '../store/store.ts'
import { StoreError } from '../store/store.ts'
import type { StoreTransaction } from '../store/transactions.ts'
import type { Engine } from './engine.ts'
import { asError, LeaseLostError } from './errors.ts'

/** The verdicts, none of them `lost`; or why nothing was committed. */
export type Committed = { readonly verdicts: readonly SettlementVerdict[] } | { readonly failure: Error }

/** Never rejects. */
export async function commit(
  engine: Engine,
  transaction: StoreTransaction,
  settlements: readonly Settlement[],
): Promise<Committed> {
  try {
    const verdicts = await transaction.settle(settlements)
    return verdicts.includes('lost') ? { failure: new LeaseLostError('refused') } : { verdicts }
  } catch (error) {
    const failure = asError(error)
    // What the database refuses of a handler's own writes is the handler's.
    if (error instanceof StoreError && error.kind !== 'data') engine.storeFailed('commit a transaction', error)
    if (!(error instanceof StoreError && error.answerLost)) return { failure }
    return (await hasCommitted(engine, settlements)) ? { verdicts: settlements.map(() => 'settled') } : { failure }
  }
}

/**
 * The answer to COMMIT was lost. Whoever settles the same leases as failed waits until it is decided; and where it
 * was committed, that finds its own owner and token on the messages, and changes nothing.
 */
async function hasCommitted(engine: Engine, settlements: readonly Settlement[]): Promise<boolean> {
  try {
    await Promise.all(settlements.map((settlement) => engine.settlements.submit(undecided(settlement))))
    const keys = settlements.flatMap(({ messages }) => messages.map(({ key }) => key))
    const store = await engine.store()
    const rows = new Map((await store.messages({ keys, limit: keys.length })).map((row) => [row.key, row]))
    // A session alone leaves nothing behind to tell by.
    return (
      keys.length > 0 &&
      settlements.every(({ owner, messages }) =>
        messages.every(({ key }) => rows.get(key)?.owner === owner && rows.get(key)?.status === 'completed'),
      )
    )
  } catch (error) {
    engine.storeFailed('find out whether a transaction was committed', error)
    return false
  }
}

/** What came out of the queue is due again at once. */
function undecided(settlement: Settlement): Settlement {
  const failed = { ...settlement, outcome: 'failed', response: null, error: 'the answer to COMMIT was lost' } as const
  return settlement.step ? { ...failed, step: { next: 'retry', afterMs: 0 } } : failed
}
