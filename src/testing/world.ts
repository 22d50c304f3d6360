/** What one check has to work with. */
import type { Store } from '../store/store.ts'

/** Fresh tables, and handles on them. */
export interface World {
  /**
   * Opens one more handle on the same tables, as another process would, and makes them where
   * they are missing. A call of it that ends in a conflict is repeated, as the engine does.
   */
  open(): Promise<Store>
  /** Opens a handle and leaves the tables as they are; conflicts reach the caller. */
  openUnprepared(): Promise<Store>
  /** From 0 up to, but not including, 1; the same numbers for the same seed. */
  random(): number
}

/** One promise of the contract, and how to see that it is kept. */
export interface Check {
  readonly promise: string
  readonly run: (world: World) => Promise<void>
}
