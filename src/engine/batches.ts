/**
 * Group commit: operations of concurrent requests written together.
 *
 * While one batch is being written the next one gathers, and goes when the first is back. Nothing
 * waits for a timer, so a lone request pays no added latency.
 */
import { StoreError } from '../store/store.ts'
import { type Port, pause } from './port.ts'

export interface BatchesOptions<Item, Verdict> {
  readonly port: Port
  /** Writes a batch and answers each item, in order. */
  write(items: readonly Item[]): Promise<readonly Verdict[]>
  /** Adds the rows and messages that an item names: no two items of one batch may share any. */
  addKeys(item: Item, keys: string[]): void
  /** At most this many items in one batch. */
  readonly maxItems: number
  /** A batch that meets deadlocks is tried again for this long. */
  readonly conflictsForMs: number
}

export interface Batches<Item, Verdict> {
  /** Rejects with a {@link StoreError}. */
  submit(item: Item): Promise<Verdict>
  /** How many batches were written, of how many items in all. */
  counts(): { batches: number; items: number }
}

interface Waiting<Item, Verdict> {
  readonly item: Item
  readonly resolve: (verdict: Verdict) => void
  readonly reject: (error: unknown) => void
}

export function createBatches<Item, Verdict>(options: BatchesOptions<Item, Verdict>): Batches<Item, Verdict> {
  const { port, write } = options
  let queue: Waiting<Item, Verdict>[] = []
  let flying = false
  let batches = 0
  let items = 0

  function submit(item: Item): Promise<Verdict> {
    return new Promise((resolve, reject) => {
      queue.push({ item, resolve, reject })
      if (flying) return
      flying = true
      port.soon(() => void fly())
    })
  }

  async function fly(): Promise<void> {
    while (queue.length > 0) await writeBatch(nextBatch())
    flying = false
  }

  /** The longest waiting first; an item that shares a key with an earlier one waits for the next batch. */
  function nextBatch(): Waiting<Item, Verdict>[] {
    const batch: Waiting<Item, Verdict>[] = []
    const later: Waiting<Item, Verdict>[] = []
    const taken = new Set<string>()
    const keys: string[] = []
    for (const waiting of queue) {
      keys.length = 0
      options.addKeys(waiting.item, keys)
      if (batch.length >= options.maxItems || keys.some((key) => taken.has(key))) later.push(waiting)
      else batch.push(waiting)
      // Also those of an item that has to wait: none may overtake it on its keys.
      for (const key of keys) taken.add(key)
    }
    queue = later
    return batch
  }

  /** A batch refused for its data is halved until the culprit stands alone. */
  async function writeBatch(batch: readonly Waiting<Item, Verdict>[]): Promise<void> {
    try {
      const verdicts = await writeThroughConflicts(batch.map((waiting) => waiting.item))
      batches += 1
      items += batch.length
      batch.forEach((waiting, index) => {
        waiting.resolve(verdicts[index] as Verdict)
      })
    } catch (error) {
      if (error instanceof StoreError && error.verdicts) {
        await answerEach(batch, error.verdicts)
        return
      }
      if (batch.length > 1 && error instanceof StoreError && error.kind === 'data') {
        const middle = Math.ceil(batch.length / 2)
        await writeBatch(batch.slice(0, middle))
        await writeBatch(batch.slice(middle))
        return
      }
      for (const waiting of batch) waiting.reject(error)
    }
  }

  /** Only some items failed: those for which that helps are written again, without the others. */
  async function answerEach(batch: readonly Waiting<Item, Verdict>[], answers: readonly unknown[]): Promise<void> {
    const again: Waiting<Item, Verdict>[] = []
    batch.forEach((waiting, index) => {
      const answer = answers[index]
      if (!(answer instanceof StoreError)) waiting.resolve(answer as Verdict)
      else if (answer.answerLost || answer.kind === 'data' || answer.kind === 'conflict') again.push(waiting)
      else waiting.reject(answer)
    })
    if (again.length === 0) return
    if (again.length < batch.length) await writeBatch(again)
    else for (const [index, waiting] of batch.entries()) waiting.reject(answers[index])
  }

  /** Deadlocks are tried again until time is up; a batch whose answer was lost, once. Both under the same owners. */
  async function writeThroughConflicts(batch: readonly Item[]): Promise<readonly Verdict[]> {
    const until = port.now() + options.conflictsForMs
    let answerLost = false
    for (let tries = 1; ; tries += 1) {
      try {
        return await write(batch)
      } catch (error) {
        if (!(error instanceof StoreError) || error.verdicts) throw error
        if (error.answerLost && !answerLost) {
          answerLost = true
          continue
        }
        if (error.kind !== 'conflict') throw error
        if (port.now() > until) {
          throw new StoreError('unreachable', `session-lock: gave up after ${tries} conflicts: ${error.message}`, {
            cause: error,
            answerLost,
          })
        }
        await pause(port, port.random() * Math.min(2 ** tries, 50), 'awaited')
      }
    }
  }

  return { submit, counts: () => ({ batches, items }) }
}
