/** What is logged: one line an outcome, with fields that can be searched, and never a message's text. */
import type { Logger } from 'pino'
import type { Blocker } from './in-the-way.ts'
import type { ResolvedOptions } from './options.ts'

/** The parts of a claim that every line names. */
export interface LogSubject {
  readonly names: readonly string[]
  readonly messageIds: readonly string[]
  readonly owner: string
}

export interface Log {
  /** Is what happens all the time logged too? */
  isDebug(): boolean
  acquired(subject: LogSubject, waitedMs: number): void
  takeover(subject: LogSubject, from: { nodeId: string | null; silentForMs: number }, waitedMs: number): void
  duplicate(subject: LogSubject, of: 'completed' | 'in_flight', waitedMs: number): void
  /** `isTry`: unlike others of its lock it did not wait at all, and only asked whether the session is free. */
  busy(subject: LogSubject, waitedMs: number, heldBy: Blocker | null, isTry: boolean): void
  released(subject: LogSubject, heldMs: number): void
  failed(subject: LogSubject, heldMs: number, error: unknown): void
  lost(subject: LogSubject, loss: string): void
  /** `during`: what we failed to do; `subject`: for whom, where it was for one claim. */
  storeError(during: string, error: unknown, subject?: LogSubject): void
  unprotected(subject: LogSubject, error: unknown): void
  /** `holder`: the node that held it. */
  releasedByForce(subject: LogSubject, holder: string | null): void
  /** A session's name as logs show it. */
  shown(name: string): string
  raw: Logger
}

export function createLog(options: ResolvedOptions): Log {
  const { logger, nodeId, maskProspects } = options
  const shown = maskProspects ? mask : (text: string) => text
  const fields = (subject: LogSubject) => ({
    session: subject.names.map(shown).join(', '),
    messageId: subject.messageIds.map(shown).join(', '),
    node: nodeId,
    owner: subject.owner,
  })
  const round = Math.round
  return {
    isDebug: () => logger.isLevelEnabled('debug'),
    acquired(subject, waitedMs) {
      logger.debug({ ...fields(subject), waitedMs: round(waitedMs) }, 'acquired (new)')
    },
    takeover(subject, from, waitedMs) {
      const details = { ageMs: round(from.silentForMs), from: from.nodeId, waitedMs: round(waitedMs) }
      logger.info({ ...fields(subject), ...details }, 'acquired by taking over STALE lock')
    },
    duplicate(subject, of, waitedMs) {
      logger.info({ ...fields(subject), of, waitedMs: round(waitedMs) }, 'already locked — BLOCKING DUPLICATE')
    },
    busy(subject, waitedMs, heldBy, isTry) {
      const holder = heldBy && { heldBy: heldBy.nodeId, holder: heldBy.owner, heldForMs: round(heldBy.heldForMs) }
      const details = { ...fields(subject), waitedMs: round(waitedMs), ...holder }
      logger[isTry ? 'debug' : 'info'](details, 'session busy')
    },
    released(subject, heldMs) {
      logger.debug({ ...fields(subject), heldMs: round(heldMs) }, 'released')
    },
    failed(subject, heldMs, error) {
      const details = { ...fields(subject), heldMs: round(heldMs), err: error }
      logger.warn(details, 'failed to handle the message; a redelivery may try again')
    },
    lost(subject, loss) {
      logger.warn({ ...fields(subject), loss }, 'failed to keep the lease; the handler’s signal has aborted')
    },
    storeError(during, error, subject) {
      logger.error({ ...(subject ? fields(subject) : { node: nodeId }), err: error }, `failed to ${during}`)
    },
    unprotected(subject, error) {
      logger.error(
        { ...fields(subject), err: error },
        'failed to reach the store; handling UNPROTECTED (onStoreError: allow)',
      )
    },
    releasedByForce(subject, holder) {
      logger.warn({ ...fields(subject), holder }, 'released a session by force')
    },
    shown,
    raw: logger,
  }
}

/** Keeps the end of each part, enough to tell two apart, not enough to call somebody. */
export function mask(text: string): string {
  return text
    .split(' · ')
    .map((part) => (part.length <= 4 ? '•'.repeat(part.length) : `••••${part.slice(-4)}`))
    .join(' · ')
}
