/** The memory store as if several processes shared it, for tests that need more than one handle. */
import { memoryStore } from '../../src/store/memory.ts'
import type { Store, StoreSettings } from '../../src/store/store.ts'

/**
 * Opens handles: those with one `tablePrefix` share one memory store, which is closed with the last of them.
 *
 * @param change what to do to the shared store, once; nothing unless given.
 */
export function memoryHandles(change: (store: Store) => Store = (store) => store) {
  const shared = new Map<string, { readonly store: Store; handles: number }>()
  return async ({ tablePrefix }: StoreSettings): Promise<Store> => {
    const entry = shared.get(tablePrefix) ?? { store: change(memoryStore()), handles: 0 }
    shared.set(tablePrefix, entry)
    entry.handles++
    let isOpen = true
    return {
      ...entry.store,
      async close() {
        if (isOpen) entry.handles--
        isOpen = false
        if (entry.handles === 0) await entry.store.close()
      },
    }
  }
}
