/** A store that counts what it is asked. */
import type { Store } from '../../src/store/store.ts'

const COUNTED = ['claim', 'look', 'settle', 'renew'] as const

/** The store itself behind a counter: how often each method was called, and with how many items in all. */
export interface CountedStore {
  readonly store: Store
  readonly calls: Record<(typeof COUNTED)[number], number>
  readonly items: Record<(typeof COUNTED)[number], number>
}

/** Every call goes on to the store. */
export function countCalls(store: Store): CountedStore {
  const calls = { claim: 0, look: 0, settle: 0, renew: 0 }
  const items = { ...calls }
  const counted = Object.fromEntries(
    COUNTED.map((name) => [
      name,
      (asked: never[]) => {
        calls[name] += 1
        items[name] += asked.length
        return store[name](asked)
      },
    ]),
  )
  return { store: Object.assign(Object.create(store), counted) as Store, calls, items }
}
