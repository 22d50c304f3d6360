/** From what the driver and the server say to the kinds of {@link StoreError}. */
import { StoreError, type StoreErrorKind } from './store.ts'

/** What is looked at of the driver's errors. */
interface DriverError extends Error {
  /** The system's: `ECONNREFUSED`. */
  readonly code?: string
  /** The command as it was sent: it holds prospects' numbers and answers, which belong in no log. */
  command?: unknown
}

/** Memory full, replica, starting, cluster in trouble, a script of somebody's running, disk full, too few replicas. */
const UNREACHABLE = new Set([
  ...['OOM', 'READONLY', 'LOADING', 'MASTERDOWN', 'BUSY', 'MISCONF', 'NOREPLICAS', 'UNKILLABLE'],
  ...['CLUSTERDOWN', 'MOVED', 'ASK', 'TRYAGAIN'],
])

const NO_LOGIN = 'it refuses the user or the password. Correct them in the URL'

const HIDDEN_CLUSTER = 'it is a cluster, and its INFO does not say so. Give a client of ioredis: new Cluster([…])'

/** What a user needs. */
export const RIGHTS =
  'Allow it ~<prefix>* &<prefix>* +@read +@write +@pubsub +eval +evalsha +info +time +select ' +
  '(with waitReplicas +wait too; on a cluster +cluster)'

/** What to do about each error that trying again does not mend. */
const SETUP = new Map([
  ['NOAUTH', NO_LOGIN],
  ['WRONGPASS', NO_LOGIN],
  ['NOPERM', `its user may not do what is needed. ${RIGHTS}`],
  ['WRONGTYPE', 'another program keeps values under these keys. Choose another tablePrefix, or another database'],
  ['CROSSSLOT', HIDDEN_CLUSTER],
])

/** What a node of a cluster answers where nothing was done, and somebody else, or nobody for now, is to be asked. */
const ELSEWHERE = new Set(['MOVED', 'ASK', 'TRYAGAIN', 'CLUSTERDOWN'])

/** Which of these answers it is that a call was refused with, if it is one. */
export function elsewhere(error: unknown): string | undefined {
  const code = error instanceof StoreError ? replyCode(error.cause) : undefined
  return code !== undefined && ELSEWHERE.has(code) ? code : undefined
}

/** true: the server answered with this error, and the connection can be used further. */
export function isAnswer(error: unknown): boolean {
  return error instanceof StoreError || (error instanceof Error && error.name === 'ReplyError')
}

/** The word that the server's error begins with; where a script met it, servers before 7.0 wrap it in a text of their own. */
export function replyCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  return (/@user_script: ?\d+: -?([A-Z]+) /.exec(error.message) ??
    /^(?:Ready check failed: ?)?([A-Z]+)\b/.exec(error.message))?.[1]
}

/** The store's error for whatever went wrong. `sent`: something was on its way, so that without an answer nobody knows. */
export function toStoreError(error: unknown, store: string, sent: boolean): StoreError {
  if (error instanceof StoreError) return error
  const cause = error as DriverError
  delete cause.command
  const kind = kindOf(cause)
  return new StoreError(kind, `session-lock: ${textOf(kind, cause, store)}`, {
    cause,
    answerLost: kind === 'unreachable' && sent && !isAnswer(error),
  })
}

function kindOf(error: DriverError): StoreErrorKind {
  const code = replyCode(error) ?? ''
  if (SETUP.has(code) || adviceFor(error) !== undefined) return 'setup'
  if (!isAnswer(error) || UNREACHABLE.has(code)) return 'unreachable'
  return /max number of clients/.test(error.message) ? 'unreachable' : 'data'
}

function adviceFor(error: DriverError): string | undefined {
  const known = SETUP.get(replyCode(error) ?? '')
  if (known !== undefined) return known
  if (/can't (run this command|access)/.test(error.message)) return SETUP.get('NOPERM')
  if (/AUTH|invalid (username|password)/.test(error.message)) return NO_LOGIN
  if (/DB index/.test(error.message)) return 'it has no database of that number. Name another one in the URL'
  if (/non local key/.test(error.message)) return HIDDEN_CLUSTER
  return /unknown command/i.test(error.message)
    ? 'it lacks a command; Redis 6.2 or later, or Valkey, is needed'
    : undefined
}

function textOf(kind: StoreErrorKind, cause: DriverError, store: string): string {
  // A refused connection to a name with several addresses has an empty message and only a code.
  const said = cause.message || cause.code || 'unknown error'
  if (kind === 'setup') return `${store}: ${adviceFor(cause)} (${said})`
  if (kind === 'unreachable') return `no service from ${store}; is it up, reachable and writable? (${said})`
  return `${store} refuses what was to be written (${said})`
}
