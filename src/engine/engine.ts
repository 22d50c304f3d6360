/** What the pieces of one lock share: the store behind its batches, the log, the events, the clock. */
import { openStore, WITH_TRANSACTIONS } from '../store/open.ts'
import type { Arrival, ArrivalVerdict, Queue } from '../store/queue.ts'
import {
  type Claim,
  type ClaimVerdict,
  type CompletedMessage,
  type MessageAddress,
  type Renewal,
  type RenewalVerdict,
  type Settlement,
  type SettlementVerdict,
  type Store,
  StoreError,
  type StoreSettings,
} from '../store/store.ts'
import type { Transactions } from '../store/transactions.ts'
import { type Batches, createBatches } from './batches.ts'
import { createEvents, type Events, type StoreCall } from './events.ts'
import { createHeart, type Heart } from './heart.ts'
import { createLog, type Log, type LogSubject } from './log.ts'
import { createMeters, type Meters } from './meter.ts'
import type { ResolvedOptions } from './options.ts'
import type { Port } from './port.ts'
import type { OutcomeCounts } from './report.ts'
import type { Tracing } from './tracing.ts'

export interface Engine {
  readonly options: ResolvedOptions
  readonly port: Port
  readonly log: Log
  readonly events: Events
  readonly meters: Meters
  /** What has been told of. */
  readonly counts: OutcomeCounts
  /** How many sessions the inbox has in hand. */
  handling: number
  /** Set by whoever traces. */
  tracing: Tracing | undefined
  /** When leases are renewed, expire, or are held for too long. */
  readonly heart: Heart
  readonly claims: Batches<Claim, ClaimVerdict>
  /** Is this message completed? */
  readonly looks: Batches<MessageAddress, CompletedMessage | undefined>
  readonly renewals: Batches<Renewal, RenewalVerdict>
  readonly settlements: Batches<Settlement, SettlementVerdict>
  /** Deliveries for the queue. */
  readonly arrivals: Batches<Arrival, ArrivalVerdict>
  /** The store, opened and migrated; rejects with a {@link StoreError} and tries anew at the next call. */
  store(): Promise<Store>
  /** The store's transactions for handlers; rejects with a {@link StoreError} where it has none. */
  transactions(): Promise<Transactions>
  /** Calls back once, when the store has been opened for the first time. */
  whenOpened(opened: (store: Store) => void): void
  /** Logs, counts and emits a failed call of the store, for one claim or for all. */
  storeFailed(during: string, error: unknown, subject?: LogSubject): void
  storeErrors(): number
  isClosed(): boolean
  /** No settlement is tried again from here on; closes the store where it was opened here. */
  close(): Promise<void>
}

/** With this share of the largest batch, one that gathers leaves: fewer would be dear, and more wait for each other. */
const FULL_SHARE = 0.25

export function createEngine(options: ResolvedOptions): Engine {
  const { port } = options
  const log = createLog(options)
  const heart = createHeart(port)
  const events = createEvents((error) => log.raw.error({ err: error }, 'failed in a listener of the lock'))
  let opened: { store: Store; opened: boolean } | undefined
  let opening: Promise<Store> | undefined
  const openListeners: Array<(store: Store) => void> = []
  let storeErrors = 0
  let closed = false

  async function open(): Promise<Store> {
    try {
      const settings = { tablePrefix: options.tablePrefix, timeoutMs: options.storeTimeoutMs }
      const { store } = await openOnce(settings)
      if (options.migrate === 'auto') {
        const applied = await store.migrate()
        if (applied.length > 0) log.raw.info({ applied, store: store.name }, 'made the tables')
      } else await store.checkSchema()
      if (options.strategy === 'transaction') await requireTransactions(store).check()
      for (const listener of openListeners.splice(0)) listener(store)
      return store
    } catch (error) {
      opening = undefined
      throw error
    }
  }

  async function openOnce(settings: StoreSettings): Promise<{ store: Store; opened: boolean }> {
    opened ??= await openStore(options.store, settings)
    return opened
  }

  function store(): Promise<Store> {
    opening ??= open()
    return opening
  }

  async function timed<Verdict>(
    call: StoreCall,
    items: number,
    write: () => Promise<readonly Verdict[]>,
  ): Promise<readonly Verdict[]> {
    const startedAt = port.now()
    let failed = true
    try {
      const verdicts = await write()
      failed = false
      return verdicts
    } finally {
      events.emit('store_call', { call, items, tookMs: port.now() - startedAt, failed, nodeId: options.nodeId })
    }
  }

  function batches<Item, Verdict>(
    call: StoreCall,
    write: (store: Store, items: readonly Item[]) => Promise<readonly Verdict[]>,
    addKeys: (item: Item, keys: string[]) => void,
  ): Batches<Item, Verdict> {
    return createBatches({
      port,
      addKeys,
      async write(items) {
        const to = await store()
        return events.isHeard('store_call') ? timed(call, items.length, () => write(to, items)) : write(to, items)
      },
      maxItems: options.maxBatch,
      fullAt: options.maxBatch * FULL_SHARE,
      conflictsForMs: options.storeTimeoutMs,
    })
  }

  return {
    options,
    port,
    log,
    events,
    meters: createMeters(),
    counts: { acquired: 0, duplicates: 0, busy: 0, takeovers: 0, unprotected: 0 },
    handling: 0,
    tracing: undefined,
    heart,
    claims: batches<Claim, ClaimVerdict>('claim', (to, claims) => to.claim(claims), addClaimKeys),
    looks: batches<MessageAddress, CompletedMessage | undefined>('look', lookAt, ({ key }, keys) => keys.push(key)),
    renewals: batches<Renewal, RenewalVerdict>('renew', (to, renewals) => to.renew(renewals), addRowKeys),
    settlements: batches<Settlement, SettlementVerdict>(
      'settle',
      (to, settlements) => to.settle(settlements),
      (settlement, keys) => {
        addRowKeys(settlement, keys)
        for (const message of settlement.messages) keys.push(message.key)
      },
    ),
    arrivals: batches<Arrival, ArrivalVerdict>(
      'enqueue',
      (to, arrivals) => requireQueue(to).enqueue(arrivals),
      (arrival, keys) => {
        for (const message of arrival.messages) keys.push(message.key)
      },
    ),
    store,
    transactions: async () => requireTransactions(await store()),
    whenOpened: (listener) => void openListeners.push(listener),
    storeFailed(during, error, subject) {
      storeErrors += 1
      log.storeError(during, error, subject)
      const kind = error instanceof StoreError ? error.kind : 'unknown'
      events.emit('store_error', { during, kind, error, nodeId: options.nodeId })
    },
    storeErrors: () => storeErrors,
    isClosed: () => closed,
    async close() {
      closed = true
      heart.stop()
      await opening?.catch(() => undefined)
      if (opened?.opened) await opened.store.close()
    },
  }
}

/** Throws a {@link StoreError} of kind `setup` where the store has no queue. */
export function requireQueue({ name, queue }: Store): Queue {
  if (queue) return queue
  const text = `session-lock: the inbox needs a database that keeps what it was told: SQLite, MySQL, MariaDB or Postgres, not ${name}`
  throw new StoreError('setup', text)
}

function requireTransactions({ name, transactions }: Store): Transactions {
  if (transactions) return transactions
  const text = `session-lock: ${name} has no transactions for handlers; the strategy "transaction" needs ${WITH_TRANSACTIONS}`
  throw new StoreError('setup', text)
}

async function lookAt(store: Store, messages: readonly MessageAddress[]): Promise<Array<CompletedMessage | undefined>> {
  const completed = new Map((await store.look(messages)).map((message) => [message.key, message]))
  return messages.map(({ key }) => completed.get(key))
}

function addRowKeys(item: { readonly rows: ReadonlyArray<{ readonly key: string }> }, keys: string[]): void {
  for (const row of item.rows) keys.push(row.key)
}

function addClaimKeys(claim: Claim, keys: string[]): void {
  for (const part of claim.parts) {
    addRowKeys(part, keys)
    for (const message of part.messages) keys.push(message.key)
  }
}
