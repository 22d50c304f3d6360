/** From what the driver and the server say to the four kinds of {@link StoreError}. */
import { StoreError, type StoreErrorKind } from './store.ts'

/** What of the driver's errors is looked at. */
interface DriverError extends Error {
  /** Five characters where the server speaks (`40P01`), else the system's code (`ECONNREFUSED`). */
  readonly code?: string
  /** Only on errors that the server sent: `ERROR`, or `FATAL` where it has closed the connection. */
  readonly severity?: string
  /** Can hold a row's contents, prospects' numbers among them, which belong in no log. */
  detail?: string
  /** The same, of a statement within a function. */
  where?: string
}

/** Serialization failure, deadlock, lock not available, object in use. */
const CONFLICT = new Set(['40001', '40P01', '55P03', '55006'])

const NO_LOGIN = 'it refuses the user or the password. Correct them in the URL'
const OTHER_VERSION =
  "the tables or functions are missing or of another version. Set the option migrate: 'auto', " +
  'or run the files in sql/postgres by hand'

/** What to do about each error that trying again does not mend. */
const SETUP = new Map([
  ['28000', NO_LOGIN],
  ['28P01', NO_LOGIN],
  ['3D000', 'there is no such database. Create it: CREATE DATABASE <name>'],
  ['3F000', 'no schema to make tables in. Create one, and put it on the search_path of the user'],
  ['42P01', OTHER_VERSION],
  ['42883', OTHER_VERSION],
  ['42703', OTHER_VERSION],
  [
    '42501',
    'its user lacks a privilege. Grant SELECT, INSERT, UPDATE and DELETE on the tables and EXECUTE on the ' +
      'functions, and CREATE on the schema too where session-lock makes them itself',
  ],
  [
    'SL001',
    "session-lock needs read committed. Run: ALTER ROLE <user> SET default_transaction_isolation = 'read committed'",
  ],
])

/**
 * What is wrong with the statement or its values, and will be again. Classes: not supported (0A), number of values (21),
 * value (22), constraint (23), syntax or right (42), check of a view (44), limit of the program (54), an exception that
 * somebody raised (P0). All else passes: the server is full, stopping, read-only, or has a fault of its own.
 */
const DATA_CLASSES = ['0A', '21', '22', '23', '42', '44', '54', 'P0']

/** true: the server answered with this error, and the connection can be used further. */
export function isAnswer(error: unknown): boolean {
  return error instanceof StoreError || (error as DriverError).severity === 'ERROR'
}

/**
 * The store's error for whatever went wrong.
 * `asked`: the call was on its way, so that without an answer nobody knows.
 */
export function toStoreError(error: unknown, store: string, asked: boolean): StoreError {
  if (error instanceof StoreError) return error
  const cause = error as DriverError
  delete cause.detail
  delete cause.where
  const kind = kindOf(cause)
  const answerLost = kind === 'unreachable' && asked && !isAnswer(cause)
  return new StoreError(kind, `session-lock: ${textOf(kind, cause, store)}`, { cause, answerLost })
}

function kindOf({ code = '', severity, message }: DriverError): StoreErrorKind {
  if (severity === undefined) return kindOfDriver(code, message)
  if (CONFLICT.has(code)) return 'conflict'
  if (SETUP.has(code) || code.startsWith('28')) return 'setup'
  return DATA_CLASSES.includes(code.slice(0, 2)) ? 'data' : 'unreachable'
}

/** System errors have a code (`ECONNRESET`); the driver's own about connections and passwords have only a text. */
function kindOfDriver(code: string, message: string): StoreErrorKind {
  if (code !== '') return code.startsWith('ERR_INVALID_') ? 'data' : 'unreachable'
  if (message.startsWith('SASL')) return 'setup'
  return /connection|timeout|closed|queryable|pool/i.test(message) ? 'unreachable' : 'data'
}

function textOf(kind: StoreErrorKind, cause: DriverError, store: string): string {
  // A refused connection to a name with several addresses has an empty message and only a code.
  const said = cause.message || cause.code || 'unknown error'
  switch (kind) {
    case 'setup':
      return `${store}: ${SETUP.get(cause.code ?? '') ?? NO_LOGIN} (${said})`
    case 'conflict':
      return `${store} undid a call that met another one; nothing was changed, try it again (${said})`
    case 'unreachable':
      return `no service from ${store}; is it up, reachable and writable? (${said})`
    case 'data':
      return `${store} refuses what was to be written (${said})`
  }
}
