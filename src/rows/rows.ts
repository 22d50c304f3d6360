/**
 * Work on rows of a table that is the user's own: whoever handles a row holds a lease in its name, and what is to be
 * done, and what became of it, stands in the row itself.
 */
import { OptionsError } from '../engine/errors.ts'
import { LOOKED_THROUGH, type SessionInfo } from '../engine/inspection.ts'
import type { Lease } from '../engine/lease.ts'
import type { SessionLock, WaitOptions } from '../engine/lock.ts'
import type { TransactionClient } from '../store/transactions.ts'

/** What a row is found by: the value of its primary key. */
export type RowId = string | number | bigint

export interface RowClaimsOptions<Row, Value, Id extends RowId = RowId, Tx = TransactionClient | undefined> {
  readonly lock: SessionLock<Tx>
  /** The table, or what else the rows are called, without a colon. Leases are of the session `<name>:<id>`. */
  readonly name: string
  /**
   * Reads a row once it is claimed: it may have been done by others since it was found. Null or undefined: nothing is
   * to be done with it any more.
   */
  readonly read: (id: Id, lease: Lease<Tx>) => Promise<Row | null | undefined> | Row | null | undefined
  /**
   * Does the work and writes what became of it. Compare `lease.fencingToken` with the row's where you write, and stop
   * when `lease.signal` aborts: somebody else may have the row by then.
   */
  readonly handle: (row: Row, lease: Lease<Tx>) => Promise<Value> | Value
}

/** A row that was handled. */
export type HandledRow<Value, Id extends RowId = RowId> =
  /** `takeover`: a crashed or hung holder may have done part of it before. */
  | { readonly id: Id; readonly status: 'processed'; readonly value: Value; readonly takeover: boolean }
  /** `error`: what reading or handling threw, why their transaction was not committed, or a LeaseLostError. */
  | { readonly id: Id; readonly status: 'failed'; readonly error: unknown }

/** What became of one row that was asked for. */
export type RowResult<Value, Id extends RowId = RowId> =
  | HandledRow<Value, Id>
  /** Somebody else has it. */
  | { readonly id: Id; readonly status: 'busy'; readonly retryAfterMs: number }
  /** `read` found nothing to be done. */
  | { readonly id: Id; readonly status: 'unwanted' }

/**
 * Finds rows that want work, in an order that stays the same: at most `limit` of those behind the row `after`
 * (undefined: from the first). Rows that others have in hand may be among them. It gives their ids, not the rows.
 */
export type FindRows<Id extends RowId = RowId> = (page: {
  readonly limit: number
  readonly after: Id | undefined
}) => Promise<readonly Id[]> | readonly Id[]

/** A row that somebody holds: by whom, since when, whether stale. */
export interface HeldRow extends SessionInfo {
  /** As text, whatever the type of the primary key is. */
  readonly id: string
}

export interface RowClaims<Value, Id extends RowId = RowId> {
  /**
   * Handles the next rows side by side, up to `limit` (1 unless set), and skips those that others have in hand: what
   * `FOR UPDATE SKIP LOCKED` does, but for as long as a lease lasts, and without a transaction held open.
   *
   * @throws what `find` throws; OptionsError where it gives something else than ids; StoreError where the store cannot be
   * reached: rows that were claimed by then are handled to their end before.
   */
  next(find: FindRows<Id>, options?: { readonly limit?: number | undefined }): Promise<HandledRow<Value, Id>[]>
  /** Handles one row, and waits for it as `lock.run` does. Throws StoreError where the store cannot be reached. */
  one(id: Id, wait?: WaitOptions): Promise<RowResult<Value, Id>>
  /**
   * The rows in somebody's hands, on any node, those held longest first (the first 10 000 sessions of the store are
   * looked through). `stale`: only those whose holder has given no sign of life, or only the others.
   */
  held(filter?: { readonly stale?: boolean | undefined }): Promise<HeldRow[]>
  /**
   * Releases the rows of holders that have given no sign of life, rather than leaving them to whoever comes next, and
   * resolves to them: for putting them back to where they wait.
   */
  releaseStale(): Promise<HeldRow[]>
}

/**
 * Claims rows of a table of your own. The row of a node that died is taken over when its lease is stale; so rows that
 * are marked as being worked on want work too, as far as `find` and `read` are concerned: those in living hands are
 * skipped.
 *
 * @throws {@link OptionsError} naming the option that is missing or impossible.
 * @example
 * const notes = createRowClaims({
 *   lock,
 *   name: 'notes',
 *   read: async (id) => (await pool.query("SELECT * FROM notes WHERE id = $1 AND status <> 'done'", [id])).rows[0],
 *   handle: async (note, lease) => {
 *     const summary = await summarise(note.body, lease.signal)
 *     await pool.query(
 *       "UPDATE notes SET status = 'done', summary = $2, token = $3 WHERE id = $1 AND token < $3",
 *       [note.id, summary, lease.fencingToken],
 *     )
 *   },
 * })
 * const open = async ({ limit, after = 0 }) =>
 *   (await pool.query("SELECT id FROM notes WHERE status <> 'done' AND id > $1 ORDER BY id LIMIT $2", [after, limit]))
 *     .rows.map(({ id }) => id)
 * await notes.next(open, { limit: 5 })
 */
export function createRowClaims<Row, Value, Id extends RowId = RowId, Tx = TransactionClient | undefined>(
  options: RowClaimsOptions<Row, Value, Id, Tx>,
): RowClaims<Value, Id> {
  const { lock, name, read, handle } = requireOptions(options)

  async function one(id: Id, wait?: WaitOptions): Promise<RowResult<Value, Id>> {
    if (!isId(id)) throw new OptionsError('id', 'takes a string, a number or a bigint')
    let isClaimed = false
    const work = async (lease: Lease<Tx>): Promise<{ value: Value } | undefined> => {
      isClaimed = true
      const row = await read(id, lease)
      if (row === null || row === undefined) return undefined
      const value = await handle(row, lease)
      // Whoever took over does it again; what was written here, the larger token keeps out.
      lease.signal.throwIfAborted()
      return { value }
    }
    try {
      const result = await lock.run({ session: `${name}:${id}` }, work, wait)
      if (result.status !== 'processed') return { id, status: 'busy', retryAfterMs: result.retryAfterMs ?? 0 }
      if (!result.value) return { id, status: 'unwanted' }
      return { id, status: 'processed', value: result.value.value, takeover: result.takeover }
    } catch (error) {
      if (!isClaimed) throw error
      return { id, status: 'failed', error }
    }
  }

  async function next(find: FindRows<Id>, { limit = 1 }: { limit?: number | undefined } = {}) {
    if (!Number.isSafeInteger(limit) || limit < 1) throw new OptionsError('limit', 'takes a whole number of at least 1')
    const handled: HandledRow<Value, Id>[] = []
    let after: Id | undefined
    for (;;) {
      const wanted = limit - handled.length
      const ids = (await find({ limit: wanted, after })).slice(0, wanted)
      if (!ids.every(isId)) throw new OptionsError('find', 'gives ids: strings, numbers or bigints, no rows')
      handled.push(...(await allOf(ids)).filter(isHandled))
      const last = ids.at(-1)
      // The same page again: this search does not know of `after`, and would find those in other hands for ever.
      if (handled.length >= limit || ids.length < wanted || last === after) return handled
      after = last
    }
  }

  async function allOf(ids: readonly Id[]): Promise<RowResult<Value, Id>[]> {
    const settled = await Promise.allSettled(ids.map((id) => one(id, { lockWaitMs: 0 })))
    return settled.map((row) => {
      if (row.status === 'rejected') throw row.reason
      return row.value
    })
  }

  function rowsAmong(sessions: readonly SessionInfo[]): HeldRow[] {
    const prefix = `${name}:`
    return sessions.flatMap((session) =>
      session.prospect?.startsWith(prefix) ? [{ ...session, id: session.prospect.slice(prefix.length) }] : [],
    )
  }

  async function held({ stale }: { readonly stale?: boolean | undefined } = {}): Promise<HeldRow[]> {
    return rowsAmong(await lock.sessions({ limit: LOOKED_THROUGH, ...(stale !== undefined && { stale }) }))
  }

  async function releaseStale(): Promise<HeldRow[]> {
    const stale = await held({ stale: true })
    return rowsAmong(await lock.releaseSessions(stale.map(({ key }) => key)))
  }

  return { next, one, held, releaseStale }
}

function isHandled<Value, Id extends RowId>(row: RowResult<Value, Id>): row is HandledRow<Value, Id> {
  return row.status === 'processed' || row.status === 'failed'
}

/** Anything else may be the same text for every row, and each page would seem to be new. */
function isId(id: unknown): boolean {
  return ['string', 'number', 'bigint'].includes(typeof id)
}

function requireOptions<Options extends object>(options: Options): Options {
  const given = new Map<string, unknown>(Object.entries(options))
  for (const name of given.keys()) {
    if (!Object.hasOwn(CHECKS, name))
      throw new OptionsError(name, `is unknown; there are: ${Object.keys(CHECKS).join(', ')}`)
  }
  for (const [name, [isRight, takes]] of Object.entries(CHECKS)) {
    if (!isRight(given.get(name))) throw new OptionsError(name, takes)
  }
  return options
}

const isFunction = (value: unknown) => typeof value === 'function'

const CHECKS: Readonly<Record<string, readonly [(value: unknown) => boolean, string]>> = {
  lock: [
    (value) => typeof value === 'object' && value !== null && 'run' in value,
    'takes a lock: createSessionLock({ … })',
  ],
  // With one, the rows of `notes` would be looked for among those of `notes:old` too.
  name: [(value) => typeof value === 'string' && /^[^:]+$/.test(value), 'takes a non-empty string without a colon'],
  read: [isFunction, 'takes a function (id, lease) => row'],
  handle: [isFunction, 'takes a function (row, lease) => value'],
}
