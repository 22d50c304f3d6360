/** The plugin for Fastify 5. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { parse } from 'node:querystring'
import { type Readable, Transform } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import { createLock, type SessionLock } from '../engine/lock.ts'
import type { SessionLockOptions } from '../engine/options.ts'
import { type BodyReader, createBodyReader, isKeptType } from './body.ts'
import { type ClaimingLock, createClaimer, isClaimable, lockFor } from './claim.ts'
import type { Answer } from './decision.ts'
import type { ExchangeRead, RequestLock } from './exchange.ts'
import { NodeExchange, type RequestLike } from './node-exchange.ts'
import { takesMethod } from './receive.ts'
import { runOf } from './shown.ts'

export type { RequestLock } from './exchange.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Set while this request's messages are held; undefined where it is no delivery. */
    sessionLock?: RequestLock | undefined
  }
}

/** A lock, to share it; or options for a new one, closed with the app; or nothing, for the one that all share. */
export type FastifySessionLockOptions = { readonly lock: ClaimingLock } | SessionLockOptions

/**
 * Fastify plugin: see `sessionLock` of the package's root. It is not encapsulated: every route beside it
 * and below is protected. Register it before them, so that the promises of their handlers count. What is held is in `request.sessionLock`. It keeps the raw
 * bytes of JSON and form bodies, and parses forms where nothing else does yet; Fastify's own `bodyLimit`
 * counts (Meta sends up to 3 MB). The hooks answer by `return reply.send(…)`.
 *
 * @throws OptionsError naming the option that is unknown or impossible
 * @example
 * await app.register(sessionLock, { store: 'sqlite:./bot.db' })
 * app.post('/webhook', async (request) => { await answer(request.body); return '' })
 */
export const sessionLock = Object.assign(protectRoutes, {
  [Symbol.for('skip-override')]: true,
  [Symbol.for('fastify.display-name')]: 'session-lock',
})

async function protectRoutes(app: FastifyInstance, options: FastifySessionLockOptions): Promise<void> {
  const lock = lockOf(app, options)
  const claim = createClaimer(lock)
  const readBody = createBodyReader(lock.options.bodyLimitBytes)
  if (!app.hasRequestDecorator('sessionLock')) app.decorateRequest('sessionLock', undefined)
  if (!app.hasContentTypeParser('application/x-www-form-urlencoded')) {
    app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, text, done) =>
      done(null, { ...parse(String(text)) }),
    )
  }
  app.addHook('preParsing', (request, _reply, payload, done) => {
    const isKept = takesMethod(lock.options, request.method) && isKeptType(request.headers['content-type'])
    done(null, isKept ? keepBytes(request.raw, payload) : payload)
  })
  app.addHook('preHandler', (request, reply, done) => {
    if (!isClaimable(lock, request.raw, request.method)) {
      done()
      return
    }
    claim(new FastifyExchange(request, reply, readBody)).then((claimed) => {
      if (claimed === 'untouched') done()
      else if (claimed !== 'answered') claimed.hold.within(() => done())
    }, done)
  })
  app.addHook('onRoute', followHandler)
}

function lockOf(app: FastifyInstance, options: FastifySessionLockOptions): ClaimingLock {
  if ('lock' in options) return options.lock
  if (Object.keys(options).length === 0) return lockFor(undefined)
  const lock: SessionLock = createLock(options)
  app.addHook('onClose', () => lock.close())
  return lock
}

/** The bytes as they pass, for signatures. Fastify compares their number with the Content-Length. */
function keepBytes(request: IncomingMessage, payload: Readable & { receivedEncodedLength?: number }): Readable {
  const chunks: Buffer[] = []
  const kept = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      chunks.push(chunk)
      done(null, chunk)
    },
    flush(done) {
      ;(request as RequestLike).rawBody ??= Buffer.concat(chunks)
      done()
    },
  })
  payload.once('error', (error) => kept.destroy(error))
  Object.defineProperty(kept, 'receivedEncodedLength', { get: () => payload.receivedEncodedLength })
  return payload.pipe(kept)
}

/** Fastify keeps the parsed body on a request of its own, and its headers on its reply. */
class FastifyExchange extends NodeExchange {
  readonly #own: FastifyRequest
  readonly #reply: FastifyReply

  constructor(request: FastifyRequest, reply: FastifyReply, readBody: BodyReader) {
    super(request.raw, reply.raw, readBody)
    this.#own = request
    this.#reply = reply
  }

  override get hookArguments(): readonly [unknown, unknown] {
    return [this.#own, this.#reply]
  }

  override read(): ExchangeRead | Promise<ExchangeRead> {
    this.request.originalUrl ??= this.#own.originalUrl
    this.request.body = this.#own.body
    return super.read()
  }

  override replaceBody(reduced: unknown): void {
    super.replaceBody(reduced)
    this.#own.body = this.request.body
  }

  override show(lock: RequestLock): void {
    this.#own.sessionLock = lock
  }

  override send(answer: Answer, own?: unknown): void {
    if (this.#reply.sent || own === this.#reply) return
    void this.#reply
      .code(answer.status)
      .headers(answer.headers)
      .send(answer.body || undefined)
  }
}

/** A handler's promise counts, as that of any wrapped handler. */
function followHandler(route: RouteOptions): void {
  const { handler } = route
  route.handler = function followed(request, reply) {
    const result: unknown = handler.call(this, request, reply)
    const run = runOf(request.raw)
    if (!run || !(result instanceof Promise)) return result
    const ended = result.then((value) => endDeserted(reply.raw, value))
    // `return reply.send(…)` is done when the answer is out, which here waits for the handler: its end is its answer's.
    if (run.isHeldBack) ended.catch(() => undefined)
    else run.follow(ended)
    return result
  }
}

/** Once the client is gone, Fastify sends nothing for a handler that returns nothing. */
function endDeserted(response: ServerResponse, value: unknown): void {
  if (value === undefined && response.destroyed && !response.headersSent && !response.writableEnded) response.end()
}
