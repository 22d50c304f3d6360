/**
 * Group commit: operations of concurrent requests written together.
 *
 * While one batch is being written the next one gathers, and goes when the first is back. Nothing
 * waits for a timer, so a lone request pays no added latency. The first one gathers what this turn of
 * the event loop brings; but a large one goes before its end. Else all would be read, then all wait for
 * the store while nothing is done here, then all be handled; and the more there are at a time, the more
 * the garbage collector has to carry along.
 *
 * A batch that fails as a whole is tried again in halves, and these in halves, until whoever is to
 * blame stands alone: the others have gone through by then, and nobody waits while it rests.
 */
import { AsyncResource } from 'node:async_hooks'
import { StoreError } from '../store/store.ts'
import { gaveUp, restMs } from './conflicts.ts'
import type { Port, Timer } from './port.ts'

export interface BatchesOptions<Item, Verdict> {
  readonly port: Port
  /** Writes a batch and answers each item, in order. */
  write(items: readonly Item[]): Promise<readonly Verdict[]>
  /** Adds the rows and messages that an item names: no two items of one batch may share any. */
  addKeys(item: Item, keys: string[]): void
  /** At most this many items in one batch. */
  readonly maxItems: number
  /** With this many, one that gathers waits for no more. */
  readonly fullAt: number
  /** A batch that meets deadlocks is tried again for this long. */
  readonly conflictsForMs: number
}

/** Who is told what became of an item, and what of: an object of its own for each item would cost more than the item. */
export interface Receiver<Verdict, Context> {
  /** `isRepeated`: an answer to it was lost before, so that it may have been written then already. */
  answered(context: Context, verdict: Verdict, isRepeated: boolean): void
  /** `error`: a {@link StoreError}. */
  failed(context: Context, error: unknown): void
}

export interface Batches<Item, Verdict> {
  /** Rejects with a {@link StoreError}. */
  submit(item: Item): Promise<Verdict>
  /** The same without a promise: the receiver is told. */
  send<Context>(item: Item, receiver: Receiver<Verdict, Context>, context: Context): void
  /** How many batches were written, of how many items in all. */
  counts(): { batches: number; items: number }
}

interface Waiting<Item, Verdict> {
  readonly item: Item
  readonly receiver: Receiver<Verdict, unknown>
  readonly context: unknown
  /** Set once a batch with it has failed. */
  failures: Failures | undefined
}

/** What an item has been through. */
interface Failures {
  /** At most this many share its next batch, itself included. */
  company: number
  conflicts: number
  /** Conflicts are tried again until then. */
  until: number
  /** After a conflict, nobody meets the other one again in step. */
  restsUntil: number
  /** An answer to it was lost, so that it may have been written, whatever became of its repeat. */
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
  /** Of those who fly: until the turn of the event loop is over. */
  let boarding = false
  let alarm: Timer | undefined
  let batches = 0
  let items = 0

  function send<Context>(item: Item, receiver: Receiver<Verdict, Context>, context: Context): void {
    queue.push({ item, receiver: receiver as Receiver<Verdict, unknown>, context, failures: undefined })
    if (!flying) takeOff()
    else if (boarding && queue.length >= options.fullAt) flyOff()
  }

  function takeOff(): void {
    flying = true
    boarding = true
    alarm?.cancel()
    port.soon(flyOff)
  }

  function submit(item: Item): Promise<Verdict> {
    return new Promise((resolve, reject) => send(item, PROMISED, { resolve, reject }))
  }

  // Else receivers would run, and log, as if they belonged to the request that came first.
  const flyOff = AsyncResource.bind((): void => {
    if (!boarding) return
    boarding = false
    void fly()
  })

  async function fly(): Promise<void> {
    for (let batch = nextBatch(); batch.length > 0; batch = nextBatch()) await writeBatch(batch)
    flying = false
    if (queue.length > 0) awaitRested()
  }

  /** Everybody who is left rests, or waits for somebody who does. */
  function awaitRested(): void {
    const now = port.now()
    const ends = queue.map(({ failures }) => failures?.restsUntil ?? 0).filter((restsUntil) => restsUntil > now)
    const wakeUp = (): void => {
      if (!flying) takeOff()
    }
    alarm = port.after(ends.length === 0 ? 0 : Math.min(...ends) - now, wakeUp, 'awaited')
  }

  /** The longest waiting first; an item that shares a key with an earlier one waits for the next batch. */
  function nextBatch(): Waiting<Item, Verdict>[] {
    const batch: Waiting<Item, Verdict>[] = []
    const later: Waiting<Item, Verdict>[] = []
    const taken = new Set<string>()
    const keys: string[] = []
    // One moment for all: who failed together rests together.
    const now = port.now()
    let maxItems = options.maxItems
    for (const waiting of queue) {
      if (batch.length >= maxItems) {
        later.push(waiting)
        continue
      }
      keys.length = 0
      options.addKeys(waiting.item, keys)
      const limit = Math.min(maxItems, waiting.failures?.company ?? maxItems)
      if (batch.length >= limit || isResting(waiting, now) || keys.some((key) => taken.has(key))) later.push(waiting)
      else {
        batch.push(waiting)
        maxItems = limit
      }
      // Also those of an item that has to wait: none may overtake it on its keys.
      for (const key of keys) taken.add(key)
    }
    queue = later
    return batch
  }

  function isResting({ failures }: Waiting<Item, Verdict>, now: number): boolean {
    return failures !== undefined && failures.restsUntil > now
  }

  async function writeBatch(batch: readonly Waiting<Item, Verdict>[]): Promise<void> {
    let verdicts: readonly Verdict[]
    try {
      verdicts = await write(batch.map((waiting) => waiting.item))
      if (verdicts.length !== batch.length) throw garbled(verdicts.length, batch.length)
    } catch (error) {
      if (error instanceof StoreError && error.verdicts) await answerEach(batch, error.verdicts)
      else failed(batch, error)
      return
    }
    batches += 1
    items += batch.length
    batch.forEach((waiting, index) => {
      answer(waiting, verdicts[index] as Verdict)
    })
  }

  /** A receiver that throws stops no other. */
  function answer({ receiver, context, failures }: Waiting<Item, Verdict>, verdict: Verdict): void {
    try {
      receiver.answered(context, verdict, failures?.answerLost ?? false)
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
    const isFirst = answerLost && !waiting.failures?.answerLost
    if (answerLost) failuresOf(waiting, options.maxItems).answerLost = true
    return kind === 'unreachable' ? isFirst : kind !== 'setup'
  }

  function failuresOf(waiting: Waiting<Item, Verdict>, company: number): Failures {
    waiting.failures ??= { ...NO_FAILURES, company, until: port.now() + options.conflictsForMs }
    return waiting.failures
  }

  /** Who is tried again, under the same owner, goes back to the head of the queue; the others have their answer. */
  function failed(batch: readonly Waiting<Item, Verdict>[], error: unknown): void {
    const now = port.now()
    const conflicts = 1 + Math.max(...batch.map(({ failures }) => failures?.conflicts ?? 0))
    const restsUntil = now + restMs(port, conflicts)
    const again = batch.filter((waiting) => {
      const failures = failuresOf(waiting, batch.length)
      const reaction = reactionTo(error, failures, batch.length, now)
      if (reaction === 'refuse') refuse(waiting, error)
      else if (reaction === 'repeat') failures.answerLost = true
      else failures.company = Math.ceil(batch.length / 2)
      if (reaction === 'rest') {
        failures.conflicts = conflicts
        failures.restsUntil = restsUntil
      }
      return reaction !== 'refuse'
    })
    queue = [...again, ...queue]
  }

  function refuse({ receiver, context, failures }: Waiting<Item, Verdict>, error: unknown): void {
    try {
      receiver.failed(context, failures ? answerOf(error, failures) : error)
    } catch (thrown) {
      throwLater(thrown)
    }
  }

  return { submit, send, counts: () => ({ batches, items }) }
}

/** Nobody knows whose the answers are: as good as lost. */
function garbled(answers: number, items: number): StoreError {
  const text = `session-lock: the store gave ${answers} answers to ${items} operations`
  return new StoreError('unreachable', text, { answerLost: true })
}

/** Where it is seen: as an exception that nobody has caught. */
function throwLater(error: unknown): void {
  queueMicrotask(() => {
    throw error
  })
}

const NO_FAILURES = { conflicts: 0, restsUntil: 0, answerLost: false }

/**
 * A lost answer is asked for once more; a batch that met another one, or is refused for its data, is halved until
 * the culprit stands alone.
 */
function reactionTo(
  error: unknown,
  { answerLost, until }: Failures,
  company: number,
  now: number,
): 'repeat' | 'halve' | 'rest' | 'refuse' {
  if (!(error instanceof StoreError)) return 'refuse'
  if (error.answerLost && !answerLost) return 'repeat'
  if (error.kind === 'conflict' && now <= until) return 'rest'
  return error.kind === 'data' && company > 1 ? 'halve' : 'refuse'
}

/** The item's error; it tells also of an answer that was lost before. */
function answerOf(error: unknown, { conflicts, answerLost }: Failures): unknown {
  if (!(error instanceof StoreError)) return error
  const last = error.kind === 'conflict' ? gaveUp(conflicts + 1, error) : error
  if (!answerLost || last.answerLost) return last
  return new StoreError(last.kind, last.message, { cause: last.cause ?? last, answerLost })
}
