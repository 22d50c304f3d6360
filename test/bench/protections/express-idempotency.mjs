/** `express-idempotency` on its own in-memory store, which keeps all. A duplicate in flight is refused. It knows no sessions. */
import { getSharedIdempotencyService, idempotency } from 'express-idempotency'
import { messageOf } from '../message-of.mjs'

export async function protect({ handler }) {
  return {
    middleware: [
      (req, _res, next) => {
        req.headers['idempotency-key'] = messageOf(req.body).id
        next()
      },
      idempotency(),
    ],
    // It goes on to the handler also where it has answered by itself.
    handler: (req, res) => (getSharedIdempotencyService().isHit(req) ? undefined : handler(req, res)),
  }
}
