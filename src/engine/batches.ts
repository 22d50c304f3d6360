/**
 * Group commit: operations of concurrent requests written together.
 *
 * While one batch is being written the next one gathers, and goes when the first is back. Nothing
 * waits for a timer, so a lone request pays no added latency.
 */
import { AsyncResource } from 'node:async_hooks'
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

/** Who is told what became of an item, and what of: an object of its own for each item would cost more than the item. */
export interface Receiver<Verdict, Context> {
  answered(context: Context, verdict: Verdict): void
  /** `error`: a {@link StoreError}. */
  failed(context: Context, error: unknown): void
}

export interface Batches<Item, Verdict> {
  /** Rejects with a {@link StoreError}. */
  submit(item: Item): Promise<Verdict>
  /** The same without a promise: the receiver is told, and must not throw. */
  send<Context>(item: Item, receiver: Receiver<Verdict, Context>, context: Context): void
  /** How many batches were written, of how many items in all. */
  counts(): { batches: number; items: number }
}

interface Waiting<Item, Verdict> {
  readonly item: Item
  readonly receiver: Receiver<Verdict, unknown>
  readonly context: unknown
  /** true: an answer to it was lost, so that it may have been written, whatever became of its repeat. */
  answerLost: boolean
}

interface Promised {
  readonly resolve: (verdict: never) => void
  readonly reject: (error: unknown) => void
}

/** Those who are given a promise. */
const PROMISED: Receiver<unknown, Promised> = {
  answered: ({ resolve }, verdict) => resolve(verdict as never),
  failed: ({ reject }, error) => reject(error),
}

export function createBatches<Item, Verdict>(options: BatchesOptions<Item, Verdict>): Batches<Item, Verdict> {
  const { port, write } = options
  let queue: Waiting<Item, Verdict>[] = []
  let flying = false
  let batches = 0
  let items = 0

  function send<Context>(item: Item, receiver: Receiver<Verdict, Context>, context: Context): void {
    queue.push({ item, receiver: receiver as Receiver<Verdict, unknown>, context, answerLost: false })
    if (flying) return
    flying = true
    port.soon(takeOff)
  }

  function submit(item: Item): Promise<Verdict> {
    return new Promise((resolve, reject) => send(item, PROMISED, { resolve, reject }))
  }

  // Else receivers would run, and log, as if they belonged to the request that came first.
  const takeOff = AsyncResource.bind((): void => void fly())

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
      if (batch.length >= options.maxItems) {
        later.push(waiting)
        continue
      }
      keys.length = 0
      options.addKeys(waiting.item, keys)
      if (keys.some((key) => taken.has(key))) later.push(waiting)
      else batch.push(waiting)
      // Also those of an item that has to wait: none may overtake it on its keys.
      for (const key of keys) taken.add(key)
    }
    queue = later
    return batch
  }

  /** A batch refused for its data is halved until the culprit stands alone. */
  async function writeBatch(batch: readonly Waiting<Item, Verdict>[]): Promise<void> {
    let verdicts: readonly Verdict[]
    try {
      verdicts = await writeThroughConflicts(batch)
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
      for (const waiting of batch) refuse(waiting, error)
      return
    }
    batches += 1
    items += batch.length
    batch.forEach((waiting, index) => {
      answer(waiting, verdicts[index] as Verdict)
    })
  }

  /** A receiver that throws stops no other. */
  function answer({ receiver, context }: Waiting<Item, Verdict>, verdict: Verdict): void {
    try {
      receiver.answered(context, verdict)
    } catch (error) {
      throwLater(error)
    }
  }

  /** Only some items failed: those for which that helps are written again, without the others. */
  async function answerEach(batch: readonly Waiting<Item, Verdict>[], answers: readonly unknown[]): Promise<void> {
    const again: Waiting<Item, Verdict>[] = []
    const isAnyAnswered = answers.some((said) => !(said instanceof StoreError))
    for (const [index, waiting] of batch.entries()) {
      const said = answers[index]
      if (!(said instanceof StoreError)) answer(waiting, said as Verdict)
      else if (isAnyAnswered && isWorthRepeating(waiting, said)) again.push(waiting)
      else refuse(waiting, said)
    }
    if (again.length > 0) await writeBatch(again)
  }

  function isWorthRepeating(waiting: Waiting<Item, Verdict>, { kind, answerLost }: StoreError): boolean {
    if (kind !== 'unreachable') return kind !== 'setup'
    const isFirst = answerLost && !waiting.answerLost
    waiting.answerLost ||= answerLost
    return isFirst
  }

  function refuse(waiting: Waiting<Item, Verdict>, error: unknown): void {
    const isForgotten = waiting.answerLost && error instanceof StoreError && !error.answerLost
    const told = isForgotten ? new StoreError(error.kind, error.message, { cause: error, answerLost: true }) : error
    try {
      waiting.receiver.failed(waiting.context, told)
    } catch (thrown) {
      throwLater(thrown)
    }
  }

  /** Deadlocks are tried again until time is up; a batch whose answer was lost, once. Both under the same owners. */
  async function writeThroughConflicts(batch: readonly Waiting<Item, Verdict>[]): Promise<readonly Verdict[]> {
    const batched = batch.map((waiting) => waiting.item)
    const until = port.now() + options.conflictsForMs
    for (let tries = 1; ; tries += 1) {
      try {
        return await write(batched)
      } catch (error) {
        if (!(error instanceof StoreError) || error.verdicts) throw error
        if (error.answerLost) {
          const isFirst = batch.some((waiting) => !waiting.answerLost)
          for (const waiting of batch) waiting.answerLost = true
          if (isFirst) continue
        }
        if (error.kind !== 'conflict') throw error
        if (port.now() > until) {
          const text = `session-lock: gave up after ${tries} conflicts: ${error.message}`
          throw new StoreError('unreachable', text, { cause: error })
        }
        await pause(port, port.random() * Math.min(2 ** tries, 50), 'awaited')
      }
    }
  }

  return { submit, send, counts: () => ({ batches, items }) }
}

/** Where it is seen: as an exception that nobody has caught. */
function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}
