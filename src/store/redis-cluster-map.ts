/** The map of a cluster: its masters, and which of them has which bucket, as its nodes tell. */
import { BUCKETS, bucketPrefix } from './redis-buckets.ts'
import { createLink, type Link, type Send, type Source } from './redis-connection.ts'
import { isAnswer } from './redis-errors.ts'
import type { PlaceSettings, Purpose } from './redis-place.ts'
import { versionKey } from './redis-prepare.ts'
import { StoreError } from './store.ts'

/** One master. */
export interface Master {
  readonly source: Source
  /** Settles within the time limit, with the work's value or with a {@link StoreError}. */
  run<Value>(purpose: Purpose, until: number, work: (send: Send) => Promise<Value>): Promise<Value>
}

/** What is known of the cluster. */
export interface ClusterMap {
  /** Of a bucket, or of {@link MARK}. Undefined where no master has its slot. */
  masterOf(place: number): Master | undefined
  masters(): readonly Master[]
  /** Reads the map again, first from `first`. Several readers share one reading. */
  read(until: number, first?: Master): Promise<void>
  close(): Promise<void>
}

/** The place of the mark of the layout: it has a slot of its own. */
export const MARK = BUCKETS

/** Longer than this nobody waits for a connection to a master that has just failed: the others have their calls too. */
const RECONNECT_WITHIN_MS = 200
/** After failures the map is not read more often than this. */
const READ_EVERY_MS = 200
/** Of several nodes to start from, one that is silent keeps nobody from the next for longer than this. */
const SEED_WITHIN_MS = 1000

/** Knows nothing until it is read for the first time. */
export function createMap(seeds: readonly Source[], { prefix, timeoutMs }: PlaceSettings): ClusterMap {
  const masters = new Map<string, LinkedMaster>()
  let byPlace: ReadonlyArray<Master | undefined> = []
  let slots: readonly number[] | undefined
  let reading: Promise<void> | undefined
  let readAt = Number.NEGATIVE_INFINITY
  let closed = false

  function read(until: number, first?: Master): Promise<void> {
    reading ??= readFromAny(until, first).finally(() => {
      reading = undefined
      readAt = performance.now()
    })
    return reading
  }

  async function readFromAny(until: number, first: Master | undefined): Promise<void> {
    const known = [...masters.values()].sort((one, other) => Number(one.hasFailed()) - Number(other.hasFailed()))
    const asked: readonly Master[] = first ? [first, ...known] : known
    let failure: unknown
    for (const read of [
      ...asked.map((master) => () => master.run('asking', until, (send) => readFrom(send, master.source))),
      ...seeds.map((seed) => () => readFromSeed(seed, until)),
    ]) {
      try {
        return await read()
      } catch (error) {
        failure ??= error
      }
    }
    throw failure
  }

  async function readFromSeed(seed: Source, until: number): Promise<void> {
    const link = createLink(seed, timeoutMs)
    const leftMs = until - performance.now()
    try {
      await link.run((send) => readFrom(send, seed), seeds.length > 1 ? Math.min(leftMs, SEED_WITHIN_MS) : leftMs)
    } finally {
      await link.close()
    }
  }

  async function readFrom(send: Send, source: Source): Promise<void> {
    slots ??= await slotsOf(send, prefix)
    adopt(rangesOf(await send('CLUSTER', ['SLOTS']), source), source)
  }

  function adopt(ranges: readonly SlotRange[], like: Source): void {
    if (ranges.length === 0) throw new StoreError('unreachable', `session-lock: ${like.name} is of no cluster yet`)
    const before = new Set(masters.keys())
    for (const { host, port } of ranges) {
      const source = like.at(host, port)
      before.delete(source.name)
      if (!masters.has(source.name)) masters.set(source.name, createMaster(source, timeoutMs, doubt))
    }
    byPlace = (slots ?? []).map((slot) => {
      const range = ranges.find(({ from, to }) => from <= slot && slot <= to)
      return range && masters.get(like.at(range.host, range.port).name)
    })
    for (const name of before) {
      void masters.get(name)?.close()
      masters.delete(name)
    }
  }

  /** A master has not answered: it may have a successor. */
  function doubt(): void {
    if (closed || performance.now() < readAt + READ_EVERY_MS) return
    read(performance.now() + timeoutMs).catch(() => undefined)
  }

  return {
    masterOf: (place) => byPlace[place],
    masters: () => [...masters.values()],
    read,
    async close() {
      closed = true
      await Promise.all([...masters.values()].map((master) => master.close()))
    },
  }
}

interface LinkedMaster extends Master {
  hasFailed(): boolean
  close(): Promise<void>
}

function createMaster(source: Source, timeoutMs: number, doubt: () => void): LinkedMaster {
  const links: Record<Purpose, Link> = {
    asking: createLink(source, timeoutMs),
    holding: createLink(source, timeoutMs),
  }
  let hasFailed = false
  return {
    source,
    hasFailed: () => hasFailed,
    async run(purpose, until, work) {
      const link = links[purpose]
      const leftMs = until - performance.now()
      try {
        const isInDoubt = hasFailed && !link.isOpen()
        const value = await link.run(work, isInDoubt ? Math.min(leftMs, RECONNECT_WITHIN_MS) : leftMs)
        hasFailed = false
        return value
      } catch (error) {
        hasFailed = !isAnswered(error)
        if (hasFailed) doubt()
        throw error
      }
    },
    async close() {
      await Promise.all([links.asking.close(), links.holding.close()])
    },
  }
}

function isAnswered(error: unknown): boolean {
  return error instanceof StoreError && (error.kind !== 'unreachable' || isAnswer(error.cause))
}

/** Of each bucket, and of the mark. */
function slotsOf(send: Send, prefix: string): Promise<number[]> {
  const buckets = Array.from({ length: BUCKETS }, (_, bucket) => bucketPrefix(prefix, bucket))
  const keys = [...buckets, versionKey(prefix)]
  return Promise.all(keys.map(async (key) => Number(await send('CLUSTER', ['KEYSLOT', key]))))
}

/** Slots that one master has. */
interface SlotRange {
  readonly from: number
  readonly to: number
  readonly host: string
  readonly port: number
}

function rangesOf(reply: unknown, asked: Source): SlotRange[] {
  const ranges = reply as Array<[from: number, to: number, master: [host: Buffer | null, port: number]]>
  return ranges.map(([from, to, [host, port]]) => {
    // A node that does not know its own address means the one that it was asked under.
    const told = host === null ? '' : host.toString()
    return { from, to, host: told === '' ? (asked.host ?? '') : told, port }
  })
}
