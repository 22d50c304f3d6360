/**
 * How handlers' transactions are held, the same for every database that has them: connections of their own, the
 * locks at the beginning, the settlement at the end. What is said to the database is its dialect's affair.
 */
import { startLimit } from './limit.ts'
import { type Settlement, type SettlementVerdict, StoreError } from './store.ts'
import {
  type Begun,
  type StoreTransaction,
  type TransactionClient,
  TransactionEndedError,
  type Transactions,
} from './transactions.ts'

/** A connection for one transaction at a time. */
export interface HandlerConnection {
  readonly tx: TransactionClient
  /** Fulfilled when it is closed, by whomever. */
  readonly closed: Promise<void>
  /** An end at once, whatever the server does. */
  cut(): void
  /** A polite end. */
  end(): Promise<unknown>
}

/** What one database is told. Where something rejects, the connection is given up. */
export interface TransactionDialect<Connection extends HandlerConnection> {
  /** For errors, without user and password. */
  readonly name: string
  /** The end of a transaction, and its beginning but for the wait, take no longer than this. */
  readonly timeoutMs: number
  /** Within a limit of its own. */
  connect(): Promise<Connection>
  /** Makes a new connection ready. */
  prepare(connection: Connection): Promise<void>
  /** See {@link Transactions.check}. */
  check(connection: Connection): Promise<void>
  run(connection: Connection, sql: string): Promise<void>
  begin(connection: Connection): Promise<void>
  /** Takes those locks that are free. Returns the others. */
  lockFree(connection: Connection, rowKeys: readonly string[]): Promise<string[]>
  /** Begins, and waits for a lock for so long. Whether it has got it, {@link lockFree} tells afterwards. */
  waitForLock(connection: Connection, rowKey: string, waitMs: number): Promise<void>
  /** Ends what a connection that was cut may still be doing on the server, which would keep its locks as long. */
  kill(connection: Connection): Promise<unknown>
  /** Settles, without committing. */
  settle(connection: Connection, settlements: readonly Settlement[]): Promise<SettlementVerdict[]>
  /** true: the server said so, and the connection can be used further. */
  isAnswer(error: unknown): boolean
  toStoreError(error: unknown, committing: boolean): StoreError
}

/** What a store closes when it is closed itself. */
export interface OpenTransactions extends Transactions {
  /** Cuts whatever still runs. */
  close(): Promise<void>
}

/** Set first of all: whatever ends the transaction takes it away. */
const SAVEPOINT = 'session_lock_begun'

export function createTransactions<Connection extends HandlerConnection>(
  dialect: TransactionDialect<Connection>,
): OpenTransactions {
  const { name, timeoutMs } = dialect
  const open = new Set<Connection>()
  const idle: Connection[] = []
  /** Of those in use: whom to tell when they are lost. */
  const losses = new Map<Connection, () => void>()
  let closed = false

  function requireOpen(): void {
    if (closed) throw new StoreError('unreachable', `session-lock: the store ${name} is closed`)
  }

  async function connect(): Promise<Connection> {
    const connection = await dialect.connect()
    if (closed) connection.cut()
    requireOpen()
    open.add(connection)
    void connection.closed.then(() => {
      open.delete(connection)
      const place = idle.indexOf(connection)
      if (place >= 0) idle.splice(place, 1)
      losses.get(connection)?.()
    })
    await limited(connection, timeoutMs, () => dialect.prepare(connection))
    return connection
  }

  function giveUp(connection: Connection): void {
    if (!open.has(connection)) return
    connection.cut()
    if (!closed) dialect.kill(connection).catch(() => undefined)
  }

  /** Settles within the limit. Where it does not come to a good end, the connection is given up. */
  async function limited<Value>(
    connection: Connection,
    limitMs: number,
    work: () => Promise<Value>,
    isCommitting = () => false,
  ): Promise<Value> {
    const limit = startLimit(limitMs, () => {
      const text = `session-lock: no answer from ${name} to a handler's transaction within ${Math.round(limitMs)} ms`
      return new StoreError('unreachable', text, { answerLost: isCommitting() })
    })
    try {
      return await Promise.race([limit.passed, work()])
    } catch (error) {
      giveUp(connection)
      throw error
    } finally {
      limit.stop()
    }
  }

  async function lock(connection: Connection, rowKeys: readonly string[], until: number): Promise<string[]> {
    await dialect.begin(connection)
    let held = await dialect.lockFree(connection, rowKeys)
    for (let leftMs = until - performance.now(); held[0] !== undefined && leftMs > 0; ) {
      // Nobody holds a lock while waiting for another.
      await dialect.run(connection, 'ROLLBACK')
      await dialect.waitForLock(connection, held[0], leftMs)
      held = await dialect.lockFree(connection, rowKeys)
      leftMs = until - performance.now()
    }
    await dialect.run(connection, `SAVEPOINT ${SAVEPOINT}`)
    return held
  }

  async function begin(rowKeys: readonly string[], waitMs: number, unwanted?: AbortSignal): Promise<Begun> {
    requireOpen()
    const until = performance.now() + waitMs
    for (;;) {
      const reused = idle.pop()
      try {
        const connection = reused ?? (await connect())
        const limitMs = Math.max(0, until - performance.now()) + timeoutMs
        const held = await limited(connection, limitMs, () => unless(unwanted, lock(connection, rowKeys, until)))
        return { transaction: transactionOn(connection), held }
      } catch (error) {
        // While it was idle, its server may have closed it.
        const isOutworn = reused !== undefined && !dialect.isAnswer(error)
        const failure = dialect.toStoreError(error, false)
        if (unwanted?.aborted) throw failure
        if (!isOutworn && !(failure.kind === 'conflict' && performance.now() < until)) throw failure
      }
      requireOpen()
    }
  }

  function transactionOn(connection: Connection): StoreTransaction {
    let isOver = false
    let tellLost: () => void = () => undefined
    let tellEnded: () => void = () => undefined
    const lost = new Promise<void>((resolve) => (tellLost = resolve))
    const ended = new Promise<void>((resolve) => (tellEnded = resolve))
    losses.set(connection, () => {
      end('lost')
      tellLost()
    })

    function end(how: 'free' | 'lost'): void {
      if (isOver) return
      isOver = true
      losses.delete(connection)
      if (how === 'free' && !closed && open.has(connection)) idle.push(connection)
      else giveUp(connection)
      tellEnded()
    }

    async function settle(settlements: readonly Settlement[]): Promise<SettlementVerdict[]> {
      let isCommitting = false
      const work = async () => {
        await releaseSavepoint()
        const verdicts = await dialect.settle(connection, settlements)
        isCommitting = !verdicts.includes('lost')
        await dialect.run(connection, isCommitting ? 'COMMIT' : 'ROLLBACK')
        return verdicts
      }
      try {
        if (isOver) throw new StoreError('unreachable', `session-lock: the connection to ${name} was lost`)
        const verdicts = await limited(connection, timeoutMs, work, () => isCommitting)
        end('free')
        return verdicts
      } catch (error) {
        end('lost')
        throw error instanceof TransactionEndedError ? error : dialect.toStoreError(error, isCommitting)
      }
    }

    async function releaseSavepoint(): Promise<void> {
      try {
        await dialect.run(connection, `RELEASE SAVEPOINT ${SAVEPOINT}`)
      } catch (error) {
        throw dialect.isAnswer(error) ? new TransactionEndedError(error) : error
      }
    }

    return {
      tx: connection.tx,
      lost,
      ended,
      settle,
      async rollback() {
        if (isOver) return
        await limited(connection, timeoutMs, () => dialect.run(connection, 'ROLLBACK')).then(
          () => end('free'),
          () => end('lost'),
        )
      },
      cut: () => end('lost'),
    }
  }

  return {
    begin,
    async check() {
      requireOpen()
      try {
        const connection = await connect()
        await limited(connection, timeoutMs, () => dialect.check(connection))
        idle.push(connection)
      } catch (error) {
        throw dialect.toStoreError(error, false)
      }
    },
    async close() {
      closed = true
      const polite = idle.splice(0)
      for (const connection of open) if (!polite.includes(connection)) connection.cut()
      const goodbyes = polite.map((connection) => limited(connection, timeoutMs, () => connection.end()))
      await Promise.allSettled(goodbyes)
    },
  }
}

/** Rejects as soon as the work is unwanted, whatever becomes of it. */
function unless<Value>(unwanted: AbortSignal | undefined, work: Promise<Value>): Promise<Value> {
  if (!unwanted) return work
  return new Promise((resolve, reject) => {
    const giveUp = (): void =>
      reject(new StoreError('unreachable', 'session-lock: nobody waits for this transaction any longer'))
    if (unwanted.aborted) giveUp()
    unwanted.addEventListener('abort', giveUp, { once: true })
    work.then(resolve, reject).finally(() => unwanted.removeEventListener('abort', giveUp))
  })
}
