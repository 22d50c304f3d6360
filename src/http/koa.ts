/** The middleware for Koa 3. */
import type { ServerResponse } from 'node:http'
import type { SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { type BodyReader, createBodyReader } from './body.ts'
import { type ClaimingLock, createClaimer, isClaimable, lockFor, withLock } from './claim.ts'
import type { Answer } from './decision.ts'
import type { ExchangeRead, RequestLock } from './exchange.ts'
import { NodeExchange, type RequestLike } from './node-exchange.ts'

export type { RequestLock } from './exchange.ts'

/** The part of Koa's context that is used. */
export interface KoaContextLike {
  readonly req: RequestLike
  readonly res: ServerResponse
  readonly request: { body?: unknown; rawBody?: unknown }
  readonly originalUrl: string
  state: { sessionLock?: RequestLock }
  sessionLock?: RequestLock
  status: number
  body?: unknown
  respond?: boolean
}

/** The middleware, with the lock that it uses: close it when the server closes. */
export interface KoaSessionLock<Lock extends ClaimingLock = SessionLock> {
  (context: KoaContextLike, next: () => Promise<unknown>): Promise<void>
  readonly lock: Lock
}

/**
 * Middleware for Koa: see `sessionLock` of the package's root. The body is in `ctx.request.body`, what is
 * held in `ctx.sessionLock` and `ctx.state.sessionLock`. The hooks are given the context twice, and answer
 * by setting its status or body.
 *
 * @throws OptionsError naming the option that is unknown or impossible
 * @example
 * app.use(sessionLock({ store: 'sqlite:./bot.db' }))
 * app.use(async (ctx) => { await reply(ctx.request.body); ctx.status = 200 })
 */
export function sessionLock<Lock extends ClaimingLock>(lockOrOptions: Lock): KoaSessionLock<Lock>
export function sessionLock(lockOrOptions?: SessionLockOptions): KoaSessionLock
export function sessionLock(lockOrOptions?: ClaimingLock | SessionLockOptions): KoaSessionLock<ClaimingLock> {
  const lock = lockFor(lockOrOptions)
  const claim = createClaimer(lock)
  const readBody = createBodyReader(lock.options.bodyLimitBytes)
  const middleware = async (context: KoaContextLike, next: () => Promise<unknown>): Promise<void> => {
    const claimed = isClaimable(lock, context.req, context.req.method)
      ? await claim(new KoaExchange(context, readBody))
      : 'untouched'
    if (claimed === 'answered') return
    if (claimed === 'untouched') {
      await next()
      return
    }
    const handled = claimed.hold.within(next)
    claimed.run.follow(handled)
    await handled
  }
  return withLock(middleware, lock)
}

/** Koa keeps the parsed body on an object of its own, and answers last. */
class KoaExchange extends NodeExchange {
  readonly #context: KoaContextLike
  readonly #before: { readonly status: number; readonly body: unknown }

  constructor(context: KoaContextLike, readBody: BodyReader) {
    super(context.req, context.res, readBody)
    this.#context = context
    this.#before = { status: context.status, body: context.body }
  }

  override get hookArguments(): readonly [unknown, unknown] {
    return [this.#context, this.#context]
  }

  override async read(): Promise<ExchangeRead> {
    const { req, request, originalUrl } = this.#context
    req.originalUrl ??= originalUrl
    req.body ??= request.body
    req.rawBody ??= request.rawBody
    try {
      return await super.read()
    } finally {
      request.body = req.body
    }
  }

  override replaceBody(reduced: unknown): void {
    super.replaceBody(reduced)
    this.#context.request.body = this.request.body
  }

  override show(lock: RequestLock): void {
    this.#context.sessionLock = lock
    this.#context.state.sessionLock = lock
  }

  override send(answer: Answer): void {
    const { status, body } = this.#before
    if (this.#context.status !== status || this.#context.body !== body) return
    this.#context.respond = false
    super.send(answer)
  }
}
