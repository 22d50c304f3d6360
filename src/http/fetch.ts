/** Handlers that take a `Request` and return a `Response`: Next.js route handlers, Bun, Deno, workers. */
import { type ClaimingLock, createClaimer, isClaimable, requireWrapped } from './claim.ts'
import type { RequestLock } from './exchange.ts'
import { fetchExchange } from './fetch-exchange.ts'
import { runOf } from './shown.ts'

export type { RequestLock } from './exchange.ts'

/** What a handler's context holds beside the framework's own fields. */
export interface FetchContext {
  /** What is held, and the parsed body with the messages to handle; undefined where it is no delivery. */
  readonly sessionLock?: FetchLock
}

/** As `req.sessionLock` elsewhere, with the body, which saves parsing it again. */
export interface FetchLock extends RequestLock {
  readonly body: unknown
}

/**
 * Wraps a handler. Its messages are settled when the body of its response has been produced, or given up,
 * and every `waitUntil` has settled. The request can be read as if nobody had. The hooks answer by returning
 * a `Response`. A second argument, as Next.js gives one, is handed on, as a copy of its own fields.
 *
 * @throws OptionsError where it is given something else than a lock and a function
 * @example
 * export const POST = withSessionLock(lock, async (request, { sessionLock }) => {
 *   await reply(sessionLock?.body ?? (await request.json()))
 *   return new Response(null, { status: 200 })
 * })
 */
export function withSessionLock<Context extends object = object>(
  lock: ClaimingLock,
  handler: (request: Request, context: Context & FetchContext) => Response | Promise<Response>,
): (request: Request, context?: Context) => Promise<Response> {
  requireWrapped(lock, 'handler', handler)
  const claim = createClaimer(lock)
  return async (request, context) => {
    const given = { ...context } as Context
    const run = runOf(request)
    if (!isClaimable(lock, request, request.method)) {
      const handled = (async () => handler(request, given))()
      run?.follow(handled)
      return handled
    }
    const exchange = fetchExchange(request, { limitBytes: lock.options.bodyLimitBytes })
    const claimed = await claim(exchange)
    if (claimed === 'answered' && exchange.answer) return exchange.answer
    if (typeof claimed === 'string') return handler(exchange.request, given)
    const { body, lock: held } = exchange
    return exchange.handle(claimed, async () =>
      handler(exchange.request, { ...given, ...(held && { sessionLock: Object.assign(held, { body }) }) }),
    )
  }
}
