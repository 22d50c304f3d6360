/**
 * Connections of the MySQL store: opened when first needed, replaced after a loss, used by one
 * transaction at a time, and never waited for longer than the store's time limit.
 */

import { startLimit } from './limit.ts'
import { isAnswer, toStoreError } from './mysql-errors.ts'
import { isGaleraNode, readVariables } from './mysql-galera.ts'
import type { MysqlConnection, Source } from './mysql-source.ts'
import type { Statement } from './mysql-statements.ts'
import { StoreError } from './store.ts'

/** A row as it came over the wire; NULL is null. */
export type Row = ReadonlyArray<Buffer | null>

/** What the server answered to a statement: rows, or how many it changed. */
export interface Answer {
  readonly rows: readonly Row[]
  readonly affectedRows: number
}

/** Runs one statement of a transaction. */
export type Query = (statement: Statement) => Promise<Answer>

/** A connection, for as long as one piece of work has it for itself. What fails is undone, and a {@link StoreError}. */
export interface Session {
  /** Runs the work in a transaction. Its value counts: by then COMMIT has answered. */
  transaction<Value>(work: (query: Query) => Promise<Value>): Promise<Value>
  /**
   * Runs statements and COMMIT as one text: one round trip, where each would be one. An error in one of them keeps
   * those behind it from being run. Absent where the source does not take several, and on a Galera cluster.
   */
  readonly atOnce: ((statements: readonly Statement[]) => Promise<readonly Answer[]>) | undefined
}

/** One connection, used by one piece of work at a time. */
export interface Link {
  /** Does the work when what came before is done, and settles within the time limit, or with a {@link StoreError}. */
  use<Value>(work: (session: Session) => Promise<Value>): Promise<Value>
  /** The same for a work that is one transaction. */
  transaction<Value>(work: (query: Query) => Promise<Value>): Promise<Value>
  /** Waits for what runs, and ends the connection. */
  close(): Promise<void>
}

/** How long things may take. */
export interface Limits {
  /** A transaction as a whole, waiting for its turn and connecting included. */
  readonly callMs: number
  readonly connectMs: number
  /** The server's own limit, so that what is given up here ends there too. 0: none. */
  readonly statementMs: number
}

/** Makes a link. It connects when it is first used. */
export function createLink(source: Source, limits: Limits): Link {
  let connection: MysqlConnection | undefined
  let takesSeveral = false
  let opening: Promise<MysqlConnection> | undefined
  let tail: Promise<unknown> = Promise.resolve()
  let closed = false

  function discard(): void {
    if (connection) cut(connection)
    connection = undefined
  }

  async function open(): Promise<MysqlConnection> {
    const opened = await source.connect(limits.connectMs)
    opened.on('error', () => {
      if (connection === opened) discard()
    })
    try {
      const { isGalera } = await withinLimit(source, limits.connectMs, prepare(opened, limits))
      // Where a node undoes a transaction between two statements of one text, no answer to the others ever comes.
      takesSeveral = source.takesSeveral === true && !isGalera
      if (closed) throw new StoreError('unreachable', 'session-lock: the store was closed while it connected')
    } catch (error) {
      cut(opened)
      throw error
    }
    connection = opened
    return opened
  }

  /** One attempt at a time, also when those who waited for it have given up: the next one uses its outcome. */
  function connected(): Promise<MysqlConnection> {
    opening ??= open().finally(() => {
      opening = undefined
    })
    return opening
  }

  async function attempt<Value>(call: Call, work: (session: Session) => Promise<Value>): Promise<Value> {
    try {
      call.phase = 'connecting'
      const used = connection ?? (await withinLimit(source, limits.connectMs, connected()))
      if (call.over) throw new StoreError('unreachable', 'session-lock: given up while connecting')
      return await work(sessionOn(used, call))
    } catch (error) {
      throw toStoreError(error, source.name, isAnswerLost(call))
    }
  }

  function sessionOn(used: MysqlConnection, call: Call): Session {
    async function carryOut<Value>(work: () => Promise<Value>): Promise<Value> {
      // What came before has ended with its loss.
      if (connection !== used)
        throw new StoreError('unreachable', `session-lock: the connection to ${source.name} is lost`)
      try {
        const value = await work()
        call.hasCommitted = true
        return value
      } catch (error) {
        if (!call.over) await undo(error)
        throw toStoreError(error, source.name, isAnswerLost(call))
      }
    }
    return {
      transaction: (work) =>
        carryOut(async () => {
          call.phase = 'working'
          const value = await work((statement) => send(used, statement))
          call.phase = 'committing'
          await send(used, COMMIT)
          return value
        }),
      atOnce: takesSeveral
        ? (statements) =>
            carryOut(() => {
              call.phase = 'committing'
              return sendSeveral(used, [...statements, COMMIT])
            })
        : undefined,
    }
  }

  /** Always by ROLLBACK of our own: a lock wait timeout undoes its statement only. */
  async function undo(error: unknown): Promise<void> {
    if (!connection) return
    if (!isAnswer(error)) return discard()
    await send(connection, ROLLBACK).catch(discard)
  }

  async function use<Value>(work: (session: Session) => Promise<Value>): Promise<Value> {
    if (closed) throw new StoreError('unreachable', `session-lock: the store ${source.name} is closed`)
    const call: Call = { phase: 'waiting', hasCommitted: false, over: false }
    const limit = startLimit(limits.callMs, () => {
      call.over = true
      if (call.phase !== 'waiting' && call.phase !== 'connecting') discard()
      return timedOut(source, limits.callMs, call)
    })
    const turn = tail.then(() => (call.over ? limit.passed : Promise.race([limit.passed, attempt(call, work)])))
    tail = turn.catch(() => undefined)
    try {
      return await Promise.race([limit.passed, turn])
    } finally {
      limit.stop()
    }
  }

  async function close(): Promise<void> {
    closed = true
    await tail
    const left = connection
    connection = undefined
    if (!left) return
    if (source.goodbye) await withinLimit(source, limits.connectMs, source.goodbye(left)).catch(() => undefined)
    cut(left)
  }

  return { use, transaction: (work) => use(({ transaction }) => transaction(work)), close }
}

/** How far a call has come when its time is over. */
interface Call {
  phase: 'waiting' | 'connecting' | 'working' | 'committing'
  /** Has something of it been committed already? */
  hasCommitted: boolean
  over: boolean
}

/** May something of it have been written, without anybody being told? */
function isAnswerLost({ phase, hasCommitted }: Pick<Call, 'phase' | 'hasCommitted'>): boolean {
  return phase === 'committing' || hasCommitted
}

const COMMIT: Statement = { sql: 'COMMIT', values: [] }
const ROLLBACK: Statement = { sql: 'ROLLBACK', values: [] }

/** Making tables may take long; waiting for somebody else's locks may not. */
const MAX_LOCK_WAIT_MS = 30_000

/**
 * Puts our settings on a connection, whatever the server's or the pool's own are. Without autocommit a
 * transaction needs no BEGIN of its own. Both lock waits end a little before the caller gives up.
 */
async function prepare(
  connection: MysqlConnection,
  { callMs, statementMs }: Limits,
): Promise<{ readonly isGalera: boolean }> {
  const query: Query = (statement) => send(connection, statement)
  const variables = await readVariables(query, ['character_set_client', 'max_statement_time', 'max_execution_time'])
  requireUtf8(variables.get('character_set_client'))
  const lockWaitSeconds = Math.max(1, Math.ceil(Math.min(callMs, MAX_LOCK_WAIT_MS) / 1000) - 1)
  const settings = [
    `time_zone = '+00:00'`,
    `sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION'`,
    `innodb_lock_wait_timeout = ${lockWaitSeconds}`,
    `lock_wait_timeout = ${lockWaitSeconds}`,
    'autocommit = 0',
    // The tokens of the largest batch are read as one text, which MySQL would cut after 1024 bytes.
    'group_concat_max_len = 1000000',
  ]
  // MariaDB's is in seconds and for every statement, MySQL's in milliseconds and for SELECT.
  if (variables.has('max_statement_time')) settings.push(`max_statement_time = ${statementMs / 1000}`)
  if (variables.has('max_execution_time')) settings.push(`max_execution_time = ${Math.ceil(statementMs)}`)
  // Else a settlement through another node does not find the row that was claimed.
  const isGalera = await isGaleraNode(query)
  if (isGalera) settings.push('wsrep_sync_wait = 7')
  await query({ sql: 'SET NAMES utf8mb4', values: [] })
  await query({ sql: 'SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED', values: [] })
  await query({ sql: `SET ${settings.join(', ')}`, values: [] })
  return { isGalera }
}

/** The driver writes its statements in this charset, which cannot be changed from here. */
export function requireUtf8(charset: string | undefined): void {
  if (charset?.startsWith('utf8')) return
  throw new StoreError(
    'setup',
    `session-lock: the pool's connections speak ${charset}; make the pool with charset: 'utf8mb4'`,
  )
}

/** Every option is named, since a pool can have other defaults; values come as bytes for the same reason. */
export async function send(connection: MysqlConnection, statement: Statement): Promise<Answer> {
  const [result] = await connection.query({ ...statement, ...ANSWERS })
  return answerOf(result)
}

/** Several statements as one text. */
async function sendSeveral(connection: MysqlConnection, statements: readonly Statement[]): Promise<Answer[]> {
  const sql = statements.map((statement) => statement.sql).join('; ')
  const values = statements.flatMap((statement) => statement.values)
  const [results] = await connection.query({ sql, values, ...ANSWERS })
  return (results as unknown[]).map(answerOf)
}

const ANSWERS = {
  rowsAsArray: true,
  nestTables: false,
  namedPlaceholders: false,
  typeCast: (field: { buffer(): Buffer | null }) => field.buffer(),
}

function answerOf(result: unknown): Answer {
  if (Array.isArray(result)) return { rows: result as Row[], affectedRows: 0 }
  return { rows: [], affectedRows: (result as { affectedRows: number }).affectedRows }
}

/** Ends it at once. The driver's `destroy` only says goodbye, and a server that is stuck never answers that. */
export function cut(connection: MysqlConnection): void {
  connection.destroy()
  const { connection: core } = connection as { connection?: { stream?: { destroy?: () => void } } }
  core?.stream?.destroy?.()
}

function timedOut(source: Source, timeoutMs: number, call: Pick<Call, 'phase' | 'hasCommitted'>): StoreError {
  const what = {
    waiting: 'the calls before it took that long',
    connecting: `no connection was to be had${source.needs ? ` (${source.needs})` : ''}`,
    working: 'the connection was given up, and with it the transaction',
    committing: 'whether the last transaction was written is not known',
  }[call.phase]
  return new StoreError('unreachable', `session-lock: no answer from ${source.name} within ${timeoutMs} ms: ${what}`, {
    answerLost: isAnswerLost(call),
  })
}

async function withinLimit<Value>(source: Source, timeoutMs: number, work: Promise<Value>): Promise<Value> {
  const limit = startLimit(timeoutMs, () => timedOut(source, timeoutMs, { phase: 'connecting', hasCommitted: false }))
  try {
    return await Promise.race([limit.passed, work])
  } finally {
    limit.stop()
  }
}
