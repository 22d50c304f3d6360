/** What people and the engine's short cuts see: look, sessions, messages, stats. */
import assert from 'node:assert/strict'
import type { MessageFilter, MessageStatus } from '../store/store.ts'
import { acquire, complete, LONG_MS, look, message, messageOf, part, rowOf, SHORT_MS, settle } from './asking.ts'
import { arrivalOf, enqueue } from './queueing.ts'
import { untilClockPasses, untilForgotten, untilStale } from './waiting.ts'
import type { Check } from './world.ts'

export const lookInsideChecks: readonly Check[] = [
  {
    promise: 'look tells the completed messages in retention, with their responses, and no others',
    run: async ({ open }) => {
      const [store, other] = [await open(), await open()]
      await complete(other, 'done', { response: Buffer.from('yes') })
      await complete(other, 'silent')
      await complete(other, 'failed', { outcome: 'failed' })
      await complete(other, 'expired', { retentionMs: 1 })
      await acquire(other, part(['A'], ['in hand']))
      await untilForgotten(store, 'expired')
      const found = await look(store, ['unknown', 'done', 'failed', 'expired', 'in hand', 'silent'])
      const answers = found.map(({ key, response }) => [key, response && Buffer.from(response).toString()])
      assert.deepEqual(Object.fromEntries(answers), { done: 'yes', silent: null })
    },
  },
  {
    promise: 'look takes nothing and marks nothing',
    run: async ({ open }) => {
      const store = await open()
      await acquire(store, part(['m'], ['m']))
      const before = await rowOf(store, 'm')
      await look(store, ['m', 'n'], 'm')
      assert.deepEqual(await store.sessions({ limit: 10 }), [before])
    },
  },
  {
    promise: 'sessions are listed the longest held first, by key and by staleness, up to the limit',
    run: async ({ open }) => {
      const store = await open()
      for (const key of ['C', 'A', 'B']) {
        await acquire(store, part([key]), { staleAfterMs: key === 'A' ? 1 : LONG_MS })
        await untilClockPasses(store, (await rowOf(store, key)).lockedAt)
      }
      await untilStale(store, 'A')
      const listed = async (filter: { keys?: string[]; stale?: boolean }, limit = 10) =>
        (await store.sessions({ ...filter, limit })).map(({ key }) => key)
      assert.deepEqual(await listed({}), ['C', 'A', 'B'])
      assert.deepEqual(await listed({}, 2), ['C', 'A'])
      assert.deepEqual(await listed({ stale: true }), ['A'])
      assert.deepEqual(await listed({ stale: false }), ['C', 'B'])
      assert.deepEqual(await listed({ keys: ['B', 'A', 'nobody'] }), ['A', 'B'])
      assert.deepEqual(await listed({ keys: ['B', 'A'], stale: false }), ['B'])
    },
  },
  {
    promise: 'messages are listed those that wait first, then the latest, by key and by status, up to the limit',
    run: async ({ open }) => {
      const store = await open()
      for (const key of ['m2', 'm1', 'm3']) {
        await complete(store, key, { outcome: key === 'm1' ? 'failed' : 'completed' })
        await untilClockPasses(store, (await messageOf(store, key))?.finishedAt ?? 0)
      }
      const listed = async (filter: { keys?: string[]; status?: MessageStatus }, limit = 10) =>
        (await store.messages({ ...filter, limit })).map(({ key }) => key)
      assert.deepEqual(await listed({}), ['m3', 'm1', 'm2'])
      assert.deepEqual(await listed({}, 2), ['m3', 'm1'])
      assert.deepEqual(await listed({ status: 'completed' }), ['m3', 'm2'])
      assert.deepEqual(await listed({ status: 'dead' }), [])
      assert.deepEqual(await listed({ keys: ['m2', 'm1', 'nobody'] }), ['m1', 'm2'])
      assert.deepEqual(await listed({ keys: ['m2', 'm1'], status: 'failed' }), ['m1'])
      if (!store.queue) return
      await enqueue(store, arrivalOf('S', ['m4']))
      assert.deepEqual(await listed({}), ['m4', 'm3', 'm1', 'm2'])
      assert.deepEqual(await listed({}, 1), ['m4'])
      assert.deepEqual(await listed({ status: 'queued' }), ['m4'])
    },
  },
  {
    promise: 'messages are found by their id, by their session, and by how its key ends, with or without a status',
    run: async ({ open }) => {
      const store = await open()
      const homes = { m1: 's:1:d3:ada', m2: 's:1:e3:ada', m3: 's:1:d3:bob' }
      for (const [key, home] of Object.entries(homes)) {
        const messages = [{ ...message(key, home), id: `id of ${key}` }]
        const lease = await acquire(store, { ...part([home]), messages })
        await settle(store, lease, { outcome: key === 'm2' ? 'failed' : 'completed' })
      }
      const found = async (filter: Omit<MessageFilter, 'limit'>) =>
        (await store.messages({ ...filter, limit: 10 })).map(({ key }) => key).sort()
      assert.deepEqual(await found({ messageIds: ['id of m1', 'id of m3', 'nobody'] }), ['m1', 'm3'])
      const ada = { name: 'ada', sessionEnding: '3:ada' }
      assert.deepEqual(await found({ about: ada }), ['m1', 'm2'])
      assert.deepEqual(await found({ about: ada, status: 'failed' }), ['m2'])
      assert.deepEqual(await found({ about: { name: 's:1:d3:bob', sessionEnding: 'none' } }), ['m3'])
      assert.deepEqual(await found({ about: { name: 'm2', sessionEnding: 'none' } }), ['m2'])
      assert.deepEqual(await found({ about: { name: 'id of m1', sessionEnding: 'none' } }), ['m1'])
      assert.deepEqual(await found({ messageIds: [] }), [])
    },
  },
  {
    promise: 'stats count rows by node and messages by status',
    run: async ({ open }) => {
      const store = await open()
      const none = { queued: 0, processing: 0, completed: 0, failed: 0, dead: 0 }
      assert.deepEqual(await store.stats(), { sessions: 0, staleSessions: 0, messages: none, nodes: [] })
      await complete(store, 'm1')
      await complete(store, 'm2')
      await complete(store, 'm3', { outcome: 'failed' })
      await acquire(store, part(['A', 'B']), { nodeId: 'node-1' })
      await acquire(store, part(['C']), { nodeId: 'node-2', staleAfterMs: SHORT_MS })
      await untilStale(store, 'C')
      const { sessions, staleSessions, messages, nodes } = await store.stats()
      assert.deepEqual([sessions, staleSessions], [3, 1])
      assert.deepEqual([messages.completed, messages.failed, messages.dead, messages.queued], [2, 1, 0, 0])
      const byNode = [...nodes].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
      assert.deepEqual(byNode, [
        { nodeId: 'node-1', sessions: 2, stale: 0 },
        { nodeId: 'node-2', sessions: 1, stale: 1 },
      ])
    },
  },
]
