/** The public door. */

export type { Removed } from './engine/cleaning.ts'
export type {
  Delivery,
  DeliveryMessage,
  DeliveryOutcome,
  HandlerResult,
  Hold,
  MessageKind,
  SettleResult,
  Withheld,
} from './engine/delivery.ts'
export { ClosedError, KeyError, LeaseLostError, type Loss, OptionsError, ReentryError } from './engine/errors.ts'
export type { ClaimEvent, EventName, Listener, LockEvents, StoreCall } from './engine/events.ts'
export type { Blocker } from './engine/in-the-way.ts'
export type { Found, Inspection, LockStats, MessagesFilter, SessionInfo, SessionsFilter } from './engine/inspection.ts'
export type { Lease } from './engine/lease.ts'
export { createSessionLock, type RunResult, type SessionLock, type WaitOptions } from './engine/lock.ts'
export type { AnswerHook, ResolvedOptions, SessionLockOptions } from './engine/options.ts'
export type { RunKey } from './engine/plan.ts'
export type { OutcomeCounts } from './engine/report.ts'
export type { Steering } from './engine/steering.ts'
export * from './http/express.ts'
export type { KeyFields, KeyParts, KeyReader } from './providers/generic.ts'
export type { StoreSource } from './store/open.ts'
export type { QueueDepth } from './store/queue.ts'
export {
  type CleanupReport,
  type MessageRow,
  type MessageStatus,
  type ReleaseOptions,
  type SessionRow,
  type Store,
  StoreError,
  type StoreErrorKind,
  type StoreSettings,
  type StoreStats,
  type Strategy,
} from './store/store.ts'
export { type TransactionClient, TransactionEndedError } from './store/transactions.ts'
