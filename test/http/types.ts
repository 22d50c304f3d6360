/** Compiled, never run: the middleware fits Express's own types, without an annotation. */
import express, { type Request, type Response } from 'express'
import type { SessionLock } from '../../src/engine/lock.ts'
import { keepRawBody, sessionLock, whatsappHandshake, withSessionLock } from '../../src/http/express.ts'

export function mountEverywhere(lock: SessionLock): void {
  const app = express()
  app.use(sessionLock())
  app.use(sessionLock({ store: 'memory:' }))
  app.use('/webhook', express.json({ verify: keepRawBody }), sessionLock(lock))
  app.get('/webhook', whatsappHandshake('token'))
  app.post(
    '/webhook',
    withSessionLock(lock, async (req, res) => {
      req.sessionLock?.waitUntil(Promise.resolve(req.params))
      res.status(200).json({ token: req.sessionLock?.fencingToken, of: req.body.entry })
    }),
  )
  app.post(
    '/:bot',
    withSessionLock(lock, (req: Request, res: Response, next) => (req.ip ? res.send('ok') : next())),
  )
  const router = express.Router().use(sessionLock(lock))
  router.route('/').post(withSessionLock(lock, (req, res) => res.send(req.ip)))
  // @ts-expect-error an option that is not there
  app.use(sessionLock({ stor: 'memory:' }))
}
