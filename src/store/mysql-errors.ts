/** From what the driver and the server say to the four kinds of {@link StoreError}. */
import { StoreError, type StoreErrorKind } from './store.ts'

/** What of the driver's errors is looked at. */
interface DriverError extends Error {
  /** Names the problem: `ER_LOCK_DEADLOCK`, `ECONNREFUSED`. */
  readonly code?: string
  /** The server's number, where the error is the server's. */
  readonly errno?: number
  /** Only on errors that the server sent. */
  readonly sqlState?: string
  /** true: the connection is of no use any more. */
  readonly fatal?: boolean
  /** The whole statement: it holds prospects' numbers and answers, which belong in no log. */
  sql?: string
}

/**
 * Deadlock, lock wait timeout, killed statement, table altered meanwhile, row changed meanwhile. On a Galera cluster
 * the first is also what a transaction is told that lost against one of another node, at its COMMIT or before; in a
 * group of MySQL servers it is 3101.
 */
const CONFLICT = new Set([1213, 1205, 1317, 1412, 1020, 3101])

/**
 * What is wrong with the statement or its values, and will be again: by the class of its state (number of values, value,
 * constraint, syntax or right, a trigger's own refusal), or where the server gives it no class, a packet too large (1153), a text of wrong
 * characters (1366), no default (1364), too many placeholders (1390), a failed check (3819).
 */
const DATA_CLASSES = ['21', '22', '23', '42', '45']
const DATA = new Set([1153, 1366, 1364, 1390, 3819])
/** In one of these classes too, but they pass: too many connections of this user (1203), too much asked by him (1226). */
const PASSING = new Set([1203, 1226])

const NO_SUCH_TABLE = 1146
const OUT_OF_CLUSTER = 1047

const NO_PRIVILEGE =
  'its user lacks a privilege. Grant SELECT, INSERT, UPDATE and DELETE on the database, ' +
  'and CREATE, ALTER and INDEX too where session-lock makes its tables itself'
const NO_LOGIN = 'it refuses the user or the password. Correct them in the URL'
const OTHER_VERSION =
  "the tables are missing or of another version. Set the option migrate: 'auto', or run the files in sql/mysql by hand"

const NO_CLUSTER =
  'is out of its Galera cluster: cut off from the other nodes, or it has just started and has not caught up. ' +
  "Connect through a node whose wsrep_local_state_comment is 'Synced', or through a proxy that leaves the others out"

/** What to do about each error that trying again does not mend. */
const SETUP = new Map([
  [1044, NO_PRIVILEGE],
  [1142, NO_PRIVILEGE],
  [1143, NO_PRIVILEGE],
  [1227, NO_PRIVILEGE],
  [1045, NO_LOGIN],
  [1698, NO_LOGIN],
  [3118, NO_LOGIN],
  [1820, 'the password of its user has expired. Set a new one'],
  [1862, 'the password of its user has expired. Set a new one'],
  [1130, 'it does not let this host in. Create the user for this host'],
  [1046, 'no database is chosen. Name one in the URL or the pool: mysql://user:password@host:3306/database'],
  [1049, 'there is no such database. Create it: CREATE DATABASE <name>'],
  [NO_SUCH_TABLE, OTHER_VERSION],
  [1054, OTHER_VERSION],
  [1665, 'it writes its binary log as statements, which READ COMMITTED rules out. Set binlog_format=ROW or MIXED'],
])

/** Table, column, key or constraint is there already, or is gone already. */
const DONE_ALREADY = new Set([1050, 1060, 1061, 1091, 1826, 3822])

/** true: the server answered with this error, and the connection can be used further. */
export function isAnswer(error: unknown): boolean {
  const { sqlState, fatal, errno } = error as DriverError
  return error instanceof StoreError || (sqlState !== undefined && fatal !== true && errno !== 1927)
}

/** true: what a statement was to make is there already, or what it was to remove is gone. */
export function isDoneAlready(error: unknown): boolean {
  return DONE_ALREADY.has((error as DriverError).errno ?? 0)
}

/** true: a value that was made NULL to stop what is not to be written was refused. */
export function isCountRefused(error: unknown): boolean {
  return error instanceof StoreError && (error.cause as DriverError | undefined)?.errno === 1048
}

/** true: the table that a statement names is not there. */
export function isMissingTable(error: unknown): boolean {
  return (error as DriverError).errno === NO_SUCH_TABLE
}

/**
 * The store's error for whatever went wrong.
 * `committing`: the COMMIT was on its way, so that without an answer nobody knows.
 */
export function toStoreError(error: unknown, store: string, committing: boolean): StoreError {
  if (error instanceof StoreError) return error
  const cause = error as DriverError
  delete cause.sql
  const kind = kindOf(cause)
  const answerLost = kind === 'unreachable' && committing
  return new StoreError(kind, `session-lock: ${textOf(kind, cause, store)}`, { cause, answerLost })
}

function kindOf({ errno = 0, sqlState, code = '' }: DriverError): StoreErrorKind {
  if (CONFLICT.has(errno)) return 'conflict'
  if (SETUP.has(errno) || code.startsWith('HANDSHAKE_') || code.startsWith('AUTH_')) return 'setup'
  if (sqlState === undefined) return isConnectionTrouble(code) ? 'unreachable' : 'data'
  // All else that a server says passes: it is full, stopping, read-only, out of its cluster, behind a proxy that gave up.
  const isData = DATA.has(errno) || (DATA_CLASSES.includes(sqlState.slice(0, 2)) && !PASSING.has(errno))
  return isData ? 'data' : 'unreachable'
}

/** System errors (`ECONNRESET`), the driver's (`PROTOCOL_CONNECTION_LOST`), TLS's (`CERT_HAS_EXPIRED`); a bug has no code. */
function isConnectionTrouble(code: string): boolean {
  return code !== '' && !code.startsWith('ERR_INVALID_')
}

function textOf(kind: StoreErrorKind, cause: DriverError, store: string): string {
  // A refused connection to a name with several addresses has an empty message and only a code.
  const said = cause.message || cause.code || 'unknown error'
  switch (kind) {
    case 'setup':
      return `${store}: ${SETUP.get(cause.errno ?? 0) ?? 'the connection cannot be set up'} (${said})`
    case 'conflict':
      return `${store} undid a transaction that met another one; nothing was changed, try it again (${said})`
    case 'unreachable':
      if (cause.errno === OUT_OF_CLUSTER) return `${store} ${NO_CLUSTER} (${said})`
      return `no service from ${store}; is it up, reachable and writable? (${said})`
    case 'data':
      return `${store} refuses what was to be written (${said})`
  }
}
