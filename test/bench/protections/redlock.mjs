/** The message is marked with SET NX, the session locked by redlock with its own defaults: it asks again every 200 ms. */
import { Redlock } from '@sesamecare-oss/redlock'
import { Redis } from 'ioredis'
import { messageOf, RETENTION_MS } from '../message-of.mjs'

const LOCK_TTL_MS = 30_000

export async function protect({ url, handler }) {
  const redis = new Redis(url)
  const redlock = new Redlock([redis])
  // What is locked is told to each who asks, too.
  redlock.on('error', () => {})
  return {
    middleware: [],
    async handler(req, res) {
      const { id, session } = messageOf(req.body)
      const mark = `message:${id}`
      if ((await redis.set(mark, '1', 'PX', RETENTION_MS, 'NX')) === null) return res.sendStatus(200)
      const lock = await redlock.acquire([`session:${session}`], LOCK_TTL_MS).catch(() => undefined)
      if (!lock) {
        await redis.del(mark)
        return res.sendStatus(503)
      }
      try {
        await handler(req, res)
      } finally {
        await lock.release()
      }
    },
    close: () => redis.quit(),
  }
}
