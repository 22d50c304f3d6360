/**
 * Buckets: how rows and messages are spread over a cluster. What is in one bucket lies in one slot, and so on one
 * server, where a script sees and changes all of it at once. On a single server there is one bucket.
 */
import { crc32 } from 'node:zlib'
import type { Run } from './redis-scripts.ts'
import { StoreError } from './store.ts'

/** On a cluster. Part of the layout of the keys: with another number nothing would be found again. */
export const BUCKETS = 64

/** The buckets of one call. */
export interface Buckets {
  readonly count: number
  /** The bucket of a row's key. */
  of(key: string): number
  /** Runs scripts in one bucket. */
  in(bucket: number): Run
}

/** All there is on a single server. */
export function oneBucket(run: Run): Buckets {
  return { count: 1, of: () => 0, in: () => run }
}

/** The bucket of a row's key on a cluster. */
export function bucketOf(key: string): number {
  return crc32(key) % BUCKETS
}

/** What stands before every key of a bucket. The number is the hash tag. */
export function bucketPrefix(prefix: string, bucket: number): string {
  return `${prefix}{${bucket}}`
}

/** These items by their buckets, the lowest first. */
export function byBucket<Item>(items: Iterable<Item>, bucketFor: (item: Item) => number): Map<number, Item[]> {
  const found = new Map<number, Item[]>()
  for (const item of items) {
    const bucket = bucketFor(item)
    const others = found.get(bucket)
    if (others) others.push(item)
    else found.set(bucket, [item])
  }
  return new Map([...found].sort(([one], [other]) => one - other))
}

/** What is asked of every bucket at once. */
export async function everywhere<Answer>({ count, in: runIn }: Buckets, ask: (run: Run) => Promise<Answer>) {
  return Promise.all(Array.from({ length: count }, (_, bucket) => ask(runIn(bucket))))
}

/** Items that are asked of one bucket in the same moment go in one script. */
export function gather<Item, Answer>(
  { in: runIn }: Buckets,
  write: (run: Run, items: readonly Item[]) => Promise<readonly Answer[]>,
): (bucket: number, item: Item) => Promise<Answer> {
  interface Asked {
    readonly item: Item
    readonly resolve: (answer: Answer) => void
    readonly reject: (error: unknown) => void
  }
  const gathered = new Map<number, Asked[]>()

  async function send(bucket: number): Promise<void> {
    const asked = gathered.get(bucket) ?? []
    gathered.delete(bucket)
    try {
      const answers = await write(
        runIn(bucket),
        asked.map(({ item }) => item),
      )
      for (const [index, { resolve }] of asked.entries()) resolve(answers[index] as Answer)
    } catch (error) {
      for (const { reject } of asked) reject(error)
    }
  }

  return (bucket, item) =>
    new Promise((resolve, reject) => {
      const others = gathered.get(bucket)
      if (others) others.push({ item, resolve, reject })
      else {
        gathered.set(bucket, [{ item, resolve, reject }])
        queueMicrotask(() => void send(bucket))
      }
    })
}

/** Asks for each item by itself. Where they fare differently, the error tells what became of each. */
export async function forEach<Item, Verdict>(
  items: readonly Item[],
  ask: (item: Item) => Promise<Verdict>,
): Promise<Verdict[]> {
  const settled = await Promise.allSettled(items.map(ask))
  const verdicts: Verdict[] = []
  const failures: StoreError[] = []
  for (const one of settled) {
    if (one.status === 'fulfilled') verdicts.push(one.value)
    else if (one.reason instanceof StoreError) failures.push(one.reason)
    else throw one.reason
  }
  const [first] = failures
  if (!first) return verdicts
  const { kind, message, answerLost } = first
  const isAlike = failures.every((failure) => failure.kind === kind && failure.answerLost === answerLost)
  if (isAlike && failures.length === items.length) throw first
  const each = settled.map((one) => (one.status === 'fulfilled' ? one.value : one.reason))
  throw new StoreError(kind, message, { cause: first, answerLost, verdicts: each })
}
