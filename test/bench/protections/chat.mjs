/**
 * A state adapter of Vercel's Chat SDK, used as the SDK itself does for each message: the mark that it was seen
 * for ten minutes, then the thread's lock for thirty seconds, then the handlers. A message of a locked thread is
 * dropped, its mark stays; here it is answered with 503. The SDK's heartbeat is left out.
 */
import { messageOf } from '../message-of.mjs'

const DEDUPE_TTL_MS = 10 * 60 * 1000
const LOCK_TTL_MS = 30_000

const logger = { error: console.error, warn: console.error, info() {}, debug() {}, child: () => logger }

const ADAPTERS = {
  memory: async () => (await import('@chat-adapter/state-memory')).createMemoryState(),
  redis: async (url) => (await import('@chat-adapter/state-redis')).createRedisState({ url, logger }),
  ioredis: async (url) => (await import('@chat-adapter/state-ioredis')).createIoRedisState({ url, logger }),
  pg: async (url) => (await import('@chat-adapter/state-pg')).createPostgresState({ url, logger }),
}

export async function protect({ adapter, url, handler }) {
  const state = await ADAPTERS[adapter](url)
  await state.connect()
  return {
    middleware: [],
    async handler(req, res) {
      const { id, session } = messageOf(req.body)
      if (!(await state.setIfNotExists(`dedupe:whatsapp:${id}`, true, DEDUPE_TTL_MS))) return res.sendStatus(200)
      const lock = await state.acquireLock(session, LOCK_TTL_MS)
      if (!lock) return res.sendStatus(503)
      try {
        await handler(req, res)
      } finally {
        await state.releaseLock(lock)
      }
    },
    close: () => state.disconnect(),
  }
}
