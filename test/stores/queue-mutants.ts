import type { Queue, QueuedMessage } from '../../src/store/queue.ts'
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
  {
    breaks: 'discards what a dead worker had in hand when it cleans up its row',
    caughtBy: 'leaves the messages that it had in hand',
    change: (store) => ({
      ...store,
      async cleanup(options) {
        const stale = await store.sessions({ stale: true, limit: 10_000 })
        const report = await store.cleanup(options)
        await store.queue?.discard(
          stale.flatMap(({ messageKeys }) => messageKeys),
          1,
        )
        return report
      },
    }),
  },
  {
    breaks: 'cleans up dead messages whatever their retention',
    caughtBy: 'leaves dead messages whose retention is not over',
    change: (store) => ({
      ...store,
      async cleanup(options) {
        const dead = await store.messages({ status: 'dead', limit: 10_000 })
        await store.queue?.discard(
          dead.map(({ key }) => key),
          1,
        )
        return store.cleanup(options)
      },
    }),
  },
  {
    breaks: 'forgets what is queued when it is closed',
    caughtBy: 'what is queued is still there',
    change: (store) => ({
      ...store,
      async close() {
        const queued = await store.messages({ status: 'queued', limit: 10_000 }).catch(() => [])
        if (queued.length > 0)
          await store.queue?.discard(
            queued.map(({ key }) => key),
            1,
          )
        await store.close()
      },
    }),
  },
  {
    breaks: 'keeps payloads as text',
    caughtBy: 'payloads are kept byte by byte',
    change: (store) => withMessages(store, (one) => ({ ...one, payload: Buffer.from(`${Buffer.from(one.payload)}`) })),
  },
  {
    breaks: 'cuts payloads at 32 KiB',
    caughtBy: 'payloads are kept byte by byte',
    change: (store) => withMessages(store, (one) => ({ ...one, payload: one.payload.slice(0, 2 ** 15) })),
  },
  {
    breaks: 'compares the keys of queued messages without case',
    caughtBy: 'queued messages and their sessions are compared as bytes',
    change: (store) => withMessages(store, (one) => ({ ...one, key: one.key.toLowerCase() })),
  },
  {
    breaks: 'compares the keys of their sessions without trailing spaces',
    caughtBy: 'queued messages and their sessions are compared as bytes',
    change: (store) => withMessages(store, (one) => ({ ...one, row: { ...one.row, key: one.row.key.trimEnd() } })),
  },
  {
    breaks: 'takes more sessions than asked for',
    caughtBy: 'no more sessions are taken than were asked for',
    change: (store) =>
      withQueue(store, ({ take }) => ({
        take: (wanted) => take({ ...wanted, owners: [...wanted.owners, `${wanted.owners[0]} again`] }),
      })),
  },
  {
    breaks: 'forgets that a larger token was asked for when sessions are taken',
    caughtBy: 'each with a token above the one that was told',
    change: (store) => withQueue(store, ({ take }) => ({ take: (wanted) => take({ ...wanted, tokenAbove: 0 }) })),
  },
  {
    breaks: 'waits as long as it may for more to come',
    caughtBy: 'when nothing more has come for a while',
    change: (store) =>
      withQueue(store, ({ enqueue }) => ({
        enqueue: (arrivals) =>
          enqueue(
            arrivals.map(({ gather, ...rest }) => ({
              ...rest,
              gather: gather && { ...gather, quietMs: gather.mostMs },
            })),
          ),
      })),
  },
  {
    breaks: 'does not tell when a message was received',
    caughtBy: 'is taken with all that was stored of it',
    change: (store) =>
      withQueue(store, ({ take }) => ({
        take: async (wanted) =>
          (await take(wanted)).map((taken) => ({
            ...taken,
            messages: taken.messages.map((message) => ({ ...message, receivedAt: 0 })),
          })),
      })),
  },
  {
    breaks: 'rejects with an error of its own when it is closed',
    caughtBy: 'calls of the queue after close',
    change: (store) =>
      withQueue(store, ({ haveMore }) => ({
        haveMore: (keys) => haveMore(keys).catch((error: Error) => Promise.reject(new Error(error.message))),
      })),
  },
]

/** Stores messages that were changed on their way. */
function withMessages(store: Store, change: (message: QueuedMessage) => QueuedMessage): Store {
  return withQueue(store, ({ enqueue }) => ({
    enqueue: (arrivals) => enqueue(arrivals.map((arrival) => ({ ...arrival, messages: arrival.messages.map(change) }))),
  }))
}

function withQueue(store: Store, change: (queue: Queue) => Partial<Queue>): Store {
  const { queue } = store
  if (!queue) throw new Error(`${store.name} has no queue`)
  return { ...store, queue: { ...queue, ...change(queue) } }
}
