/** Request listeners of plain `node:http`, without a framework. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { type ClaimingLock, requireWrapped } from './claim.ts'
import { withSessionLock } from './express.ts'
import type { RequestLike } from './node-exchange.ts'

export { keepRawBody } from './body.ts'
export type { RequestLock } from './exchange.ts'
export type { RequestLike } from './node-exchange.ts'

/**
 * Wraps a request listener. Its messages are settled when its promise has settled and the response has
 * ended. JSON and form bodies are read before, and stand in `request.body`; a throw is logged, and answered
 * with 500 where nothing has been answered.
 *
 * @throws OptionsError where it is given something else than a lock and a function
 * @example
 * createServer(protect(lock, async (request, response) => { await reply(request.body); response.end() }))
 */
export function protect(
  lock: ClaimingLock,
  listener: (request: RequestLike, response: ServerResponse) => unknown,
): (request: IncomingMessage, response: ServerResponse) => void {
  requireWrapped(lock, 'listener', listener)
  const handle = withSessionLock<RequestLike, ServerResponse, (error?: unknown) => void>(lock, (request, response) =>
    listener(request, response),
  )
  return (request, response) => {
    handle(request, response, (error) => {
      lock.log.error({ err: error }, 'failed to handle a request: the listener threw')
      if (response.headersSent) response.destroy()
      else response.writeHead(500, { 'Content-Type': 'text/plain' }).end('Internal Server Error')
    })
  }
}
