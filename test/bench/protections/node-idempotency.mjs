/** `@node-idempotency/core` on its Redis storage, with its defaults: a duplicate in flight is refused. It knows no sessions. */
import { Idempotency } from '@node-idempotency/core'
import { RedisStorageAdapter } from '@node-idempotency/storage-adapter-redis'
import { messageOf, RETENTION_MS } from '../message-of.mjs'

export async function protect({ url, handler }) {
  const storage = new RedisStorageAdapter({ url })
  await storage.connect()
  const idempotency = new Idempotency(storage, { cacheTTLMS: RETENTION_MS })
  return {
    middleware: [],
    async handler(req, res) {
      const headers = { 'idempotency-key': messageOf(req.body).id }
      const request = { method: req.method, path: req.path, headers, body: req.body }
      let earlier
      try {
        earlier = await idempotency.onRequest(request)
      } catch {
        return res.sendStatus(409)
      }
      if (earlier) return res.sendStatus(earlier.additional.status)
      await handler(req, res)
      await idempotency.onResponse(request, { body: null, additional: { status: res.statusCode } })
    },
    close: () => storage.disconnect(),
  }
}
