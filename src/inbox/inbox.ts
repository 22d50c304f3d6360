/** The inbox: deliveries are stored, answered at once, and handled afterwards, each session in the order of arrival. */
import { named } from '../engine/alias.ts'
import { throughConflicts } from '../engine/conflicts.ts'
import type { Delivery } from '../engine/delivery.ts'
import { type Engine, requireQueue } from '../engine/engine.ts'
import { ClosedError, KeyError, OptionsError } from '../engine/errors.ts'
import { requireEngine } from '../engine/lock.ts'
import { aMoment, isText, type OptionCheck, requireOptions, wholeNumber } from '../engine/option-checks.ts'
import { planDelivery } from '../engine/plan.ts'
import { found, requeued } from '../engine/steering.ts'
import type { Arrival, ArrivalVerdict, QueueDepth } from '../store/queue.ts'
import type { MessageRow } from '../store/store.ts'
import type { TransactionClient } from '../store/transactions.ts'
import { arrivalOf } from './arrivals.ts'
import { type InboxOptions, resolveInboxOptions } from './options.ts'
import { type Page, type Poller, type PollOptions, startPoller } from './poller.ts'
import { type Accepted, createInboxMiddleware, type InboxMiddleware } from './receive.ts'
import { tellKnown } from './report.ts'
import { createWorker } from './worker.ts'

/**
 * Which completed messages are to be handled again: those that fit all that is given, and `{}` all. Times are epoch
 * milliseconds. Without `ids` the latest 10 000 completed messages are looked through.
 */
export interface ReplayFilter {
  readonly ids?: readonly string[] | undefined
  readonly provider?: string | undefined
  readonly device?: string | undefined
  /** Handled at or after this. */
  readonly since?: number | undefined
  /** Handled before this. */
  readonly until?: number | undefined
  /** At most so many, the latest first. Default 1000. */
  readonly limit?: number | undefined
}

/** What waits in the store, for all nodes, and what this node did. */
export interface InboxStats extends QueueDepth {
  readonly node: {
    /** Sessions in hand now. */
    readonly running: number
    readonly completed: number
    readonly retried: number
    readonly dead: number
  }
}

export interface Inbox {
  /**
   * Middleware that stores a delivery's messages and answers 200 (`Session-Lock: queued`, or `duplicate` where all are
   * known) when they are on disk. What is no delivery goes on to the next handler.
   *
   * @example
   * app.post('/webhook', inbox.receive())
   */
  receive(): InboxMiddleware
  /** Stores a delivery that came by other ways. `payload`: what the handler gets with each of its messages. */
  accept(delivery: Delivery, payload: unknown): Promise<Accepted>
  /** Begins to handle. Without it, a process only receives. Rejects where the store has no queue, or cannot be reached. */
  start(): Promise<void>
  /** Takes no more work and lets handlers finish, for up to the lock's `closeTimeoutMs`. Close the lock afterwards. */
  stop(): Promise<void>
  /** Queues dead messages again, by their ids. Resolves to how many there were. */
  retry(...ids: string[]): Promise<number>
  /** Completes queued or dead messages unhandled, by their ids; never one in hand. Resolves to how many there were. */
  discard(...ids: string[]): Promise<number>
  /**
   * Queues completed messages again. Resolves to how many there were. Rejects with an {@link OptionsError} that names
   * what is unknown or impossible in the filter.
   */
  replay(filter: ReplayFilter): Promise<number>
  /**
   * Asks a source again and again, on one node at a time.
   *
   * @example
   * inbox.poll({ source: 'orders', fetch: async (after) => nextOrders(after), everyMs: 5000 })
   */
  poll(options: PollOptions): Poller
  stats(): Promise<InboxStats>
}

const REPLAY_CHECKS: Readonly<Record<keyof ReplayFilter, OptionCheck>> = {
  ids: [(value) => Array.isArray(value) && value.every(isText), 'takes the ids of messages, in an array'],
  provider: [isText, 'takes the name of a provider'],
  device: [isText, 'takes a non-empty string'],
  since: aMoment,
  until: aMoment,
  limit: wholeNumber(0),
}

/** So many rows are looked through for a replay that names no ids. */
const MOST_ROWS = 10_000

/**
 * Makes an inbox over a lock's store.
 *
 * @throws {@link OptionsError} naming the option that is unknown, missing or impossible.
 * @example
 * const inbox = createInbox({ lock, handler: async ([message], lease) => answer(message.payload, lease.signal) })
 * app.post('/webhook', inbox.receive())
 * await inbox.start()
 */
export function createInbox<Tx = TransactionClient | undefined>(options: InboxOptions<Tx>): Inbox {
  const resolved = resolveInboxOptions(options)
  const { lock } = options
  const engine = requireEngine(lock)
  const worker = createWorker(engine, resolved)
  const pollers = new Set<Poller>()
  let stopping: Promise<void> | undefined

  async function accept(delivery: Delivery, payloadOf: (position: number) => unknown): Promise<Accepted> {
    if (engine.isClosed()) throw new ClosedError()
    const arrivedAt = engine.port.now()
    const arrival = await arrivalOf(await named(delivery, engine.options.alias), payloadOf, resolved, engine.port)
    if (!arrival) return 'unkeyed'
    const verdict = await store(arrival)
    const known = arrival.messages.filter((_, index) => verdict[index] === 'known')
    tellKnown(engine, arrival, known, arrivedAt)
    if (!verdict.includes('queued')) return 'duplicate'
    worker.newer(arrival.messages.filter((_, index) => verdict[index] === 'queued').map(({ row }) => row.key))
    worker.wake()
    return 'queued'
  }

  async function store(arrival: Arrival): Promise<ArrivalVerdict> {
    try {
      return await engine.arrivals.submit(arrival)
    } catch (error) {
      engine.storeFailed('store a delivery', error)
      throw error
    }
  }

  async function replay(wanted: ReplayFilter): Promise<number> {
    const { limit = 1000, ...filter } = requireOptions(wanted, REPLAY_CHECKS, 'filter')
    const store = await engine.store()
    const { ids } = filter
    const completed = ids
      ? await found(engine, 'completed', ids)
      : await store.messages({ status: 'completed', limit: MOST_ROWS })
    const rows = completed.filter((row) => fitsFilter(row, filter)).slice(0, limit)
    if (rows.length === 0) return 0
    const again = () => requireQueue(store).requeue(rows.map(requeued), 'completed')
    return throughConflicts(engine.port, engine.options.storeTimeoutMs, again)
  }

  /** There may be work now. */
  async function waking(change: Promise<number>): Promise<number> {
    const changed = await change
    if (changed > 0) worker.wake()
    return changed
  }

  function poll(polling: PollOptions): Poller {
    // Whoever asks a source holds a session of its name.
    if (engine.options.scope === 'message') {
      throw new OptionsError('scope', '"message" has no sessions, and poll() needs one: make the lock with "both"')
    }
    const alone = (work: (signal: AbortSignal) => Promise<void>) =>
      lock.run({ session: `poll:${polling.source}` }, (lease) => work(lease.signal), { lockWaitMs: 0 })
    const poller = startPoller(engine, polling, alone, (page) => arrivalIn(polling.source, page), worker.wake)
    pollers.add(poller)
    return { stop: () => poller.stop().finally(() => pollers.delete(poller)) }
  }

  async function arrivalIn(source: string, page: Page): Promise<Arrival> {
    const messages = page.messages.filter((message) => isKeyable(engine, source, message))
    const delivery = await named(deliveryOf(source, { ...page, messages }), engine.options.alias)
    const payloadOf = (position: number) => messages[position]?.payload
    return (await arrivalOf(delivery, payloadOf, resolved, engine.port)) ?? NOTHING
  }

  async function stop(): Promise<void> {
    await Promise.all([worker.stop(), ...[...pollers].map((poller) => poller.stop())])
    pollers.clear()
  }

  return {
    receive: () => createInboxMiddleware(lock, accept, resolved.maxInFlight),
    accept: (delivery, payload) => accept(delivery, () => payload),
    async start() {
      requireQueue(await engine.store())
      worker.start()
    },
    stop() {
      stopping ??= stop().finally(() => {
        stopping = undefined
      })
      return stopping
    },
    retry: (...ids) => waking(lock.retry(...ids)),
    discard: (...ids) => waking(lock.discard(...ids)),
    replay: (filter) => waking(replay(filter)),
    poll,
    async stats() {
      return { ...(await requireQueue(await engine.store()).depth()), node: worker.counts() }
    },
  }
}

const NOTHING = { owner: '', messages: [], gather: null }

function deliveryOf(source: string, { messages }: Page): Delivery {
  return { provider: source, messages: messages.map(({ id, prospect, device }) => ({ id, prospect, device })) }
}

/** What can be kept under no key would come again for ever, and nothing after it. */
function isKeyable(engine: Engine, source: string, { id, prospect, device }: Page['messages'][number]): boolean {
  try {
    planDelivery({ provider: source, messages: [{ id, prospect, device }] }, 'both')
    return true
  } catch (error) {
    if (!(error instanceof KeyError)) throw error
    engine.log.raw.error({ source, err: error }, 'failed to keep a message of a polled source; it is left out')
    return false
  }
}

function fitsFilter(row: MessageRow, { provider, device, since, until }: Omit<ReplayFilter, 'ids'>): boolean {
  const at = row.finishedAt ?? 0
  return (
    (provider === undefined || row.provider === provider) &&
    (device === undefined || row.device === device) &&
    (since === undefined || at >= since) &&
    (until === undefined || at < until)
  )
}
