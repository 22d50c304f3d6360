import type { Queue } from '../../src/store/queue.ts'
import type { Store } from '../../src/store/store.ts'
import type { Mutant } from './mutants.ts'

/** The SQLite store, whose queue is broken in one way each. */
export const QUEUE_MUTANTS: readonly Mutant[] = [
  {
    breaks: 'loses a message that it has accepted',
    caughtBy: 'and none is left behind',
    change: (store) =>
      withQueue(store, ({ enqueue }) => ({
        enqueue: async (arrivals) => (arrivals[0]?.messages[0]?.key === '007' ? [['queued']] : enqueue(arrivals)),
      })),
  },
  {
    breaks: 'gives a message again that was completed',
    caughtBy: 'an arrival repeated under the same owner',
    change: (store) => ({
      ...store,
      settle: (items) =>
        store.settle(items.map((item) => ({ ...item, outcome: 'released', step: { next: 'give-back' } }))),
    }),
  },
  {
    breaks: 'gives a session without messages',
    caughtBy: 'an arrival repeated under the same owner',
    change: (store) =>
      withQueue(store, ({ take }) => ({
        take: async (wanted) => (await take(wanted)).map((taken) => ({ ...taken, messages: [] })),
      })),
  },
]

function withQueue(store: Store, change: (queue: Queue) => Partial<Queue>): Store {
  const { queue } = store
  if (!queue) throw new Error(`${store.name} has no queue`)
  return { ...store, queue: { ...queue, ...change(queue) } }
}
