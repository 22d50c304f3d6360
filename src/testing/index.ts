/**
 * The conformance suite: every promise that a store makes to the engine, as tests, and the types of what the two say
 * to each other.
 *
 * For authors of stores. The caller brings the test runner and the way to open the store.
 */
export type {
  Arrival,
  ArrivalVerdict,
  Gather,
  Queue,
  QueueDepth,
  QueuedMessage,
  QueueStep,
  Requeued,
  Take,
  Taken,
  TakenMessage,
} from '../store/queue.ts'
export {
  type About,
  type Claim,
  type ClaimPart,
  type ClaimVerdict,
  type CleanupOptions,
  type CleanupReport,
  type CompletedMessage,
  type Holder,
  MAX_KEY_BYTES,
  MESSAGE_STATUSES,
  type MessageAddress,
  type MessageFilter,
  type MessageRef,
  type MessageRow,
  type MessageStatus,
  type PartVerdict,
  type ReleaseOptions,
  type Renewal,
  type RenewalVerdict,
  type RowHeld,
  type RowWanted,
  type SessionFilter,
  type SessionRow,
  type Settlement,
  type SettlementVerdict,
  type Store,
  StoreError,
  type StoreErrorKind,
  type StoreSettings,
  type StoreStats,
  type Strategy,
} from '../store/store.ts'
export {
  type Begun,
  type StoreTransaction,
  type TransactionClient,
  TransactionEndedError,
  type Transactions,
} from '../store/transactions.ts'
export { type ConformanceOptions, storeConformance } from './conformance.ts'
