/** The same small bot on every framework: what the behaviour suite asks of each is one start function. */
import 'reflect-metadata'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { getRequestListener } from '@hono/node-server'
import { All, Controller, HttpException, Module, Req, Res } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import type { Request as ExpressRequest, Response as ExpressResponse } from 'express'
import Fastify from 'fastify'
import { Hono } from 'hono'
import Koa from 'koa'
import { pino } from 'pino'
import { afterEach } from 'vitest'
import type { ClaimingLock, RequestLock } from '../../src/http/express.ts'
import { sessionLock as expressLock, withSessionLock as wrapExpress } from '../../src/http/express.ts'
import { sessionLock as fastifyLock } from '../../src/http/fastify.ts'
import { withSessionLock as wrapFetch } from '../../src/http/fetch.ts'
import { sessionLock as honoLock } from '../../src/http/hono.ts'
import { sessionLock as koaLock } from '../../src/http/koa.ts'
import { protect } from '../../src/http/node-http.ts'
import { expressVersions } from './bot.ts'

/** What a bot sees of a request, whichever framework brought it. */
export interface Seen {
  readonly body: unknown
  readonly lock: RequestLock | undefined
}

/** What it answers. */
export interface Reply {
  readonly status: number
  readonly body?: string | Buffer | Readable
  readonly type?: string
}

export type Bot = (seen: Seen) => Promise<Reply>

export interface Framework {
  readonly name: string
  /** Starts the bot behind the lock, on a free port. */
  start(lock: ClaimingLock, bot: Bot): Promise<string>
}

const stops: Array<() => unknown> = []

afterEach(async () => {
  await Promise.all(stops.splice(0).map((stop) => stop()))
})

function urlOf(server: Server): string {
  stops.push(() => {
    server.closeAllConnections()
    return new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Starts a server on a port of the system's choosing; it stops after the test. */
export function serve(listener: (...exchange: Parameters<RequestListener>) => unknown): Promise<string> {
  return new Promise((resolve) => {
    const server = createServer((request, response) => void listener(request, response)).listen(0, '127.0.0.1', () =>
      resolve(urlOf(server)),
    )
  })
}

async function answerExpress(res: ExpressResponse, { status, body = '', type }: Reply): Promise<unknown> {
  res.status(status)
  if (type) res.type(type)
  return body instanceof Readable ? pipeline(body, res).catch(() => undefined) : res.send(body)
}

function asWeb({ status, body, type }: Reply): Response {
  const produced = body instanceof Readable ? (Readable.toWeb(body) as ReadableStream<Uint8Array>) : (body ?? null)
  return new Response(produced, { status, ...(type && { headers: { 'content-type': type } }) })
}

const expresses: readonly Framework[] = expressVersions.map(([name, express]) => ({
  name,
  start(lock, bot) {
    const app = express()
    app.set('env', 'test')
    app.use(expressLock(lock))
    app.all('/', (req, res, next) => {
      bot({ body: req.body, lock: req.sessionLock }).then((reply) => answerExpress(res, reply), next)
    })
    return serve(app)
  },
}))

const wrapped: Framework = {
  name: 'Express 5, wrapped',
  start(lock, bot) {
    const express = expressVersions[1]?.[1] as (typeof expressVersions)[0][1]
    const app = express()
    app.set('env', 'test')
    const handler = async (req: ExpressRequest, res: ExpressResponse) =>
      answerExpress(res, await bot({ body: req.body, lock: req.sessionLock }))
    app.all('/', wrapExpress(lock, handler))
    return serve(app)
  },
}

const nodeHttp: Framework = {
  name: 'node:http',
  start: (lock, bot) =>
    serve(
      protect(lock, async (request, response) => {
        const { status, body = '', type } = await bot({ body: request.body, lock: request.sessionLock })
        response.statusCode = status
        if (type) response.setHeader('content-type', type)
        if (body instanceof Readable) await pipeline(body, response).catch(() => undefined)
        else response.end(body)
      }),
    ),
}

const fastify: Framework = {
  name: 'Fastify',
  async start(lock, bot) {
    const app = Fastify()
    await app.register(fastifyLock, { lock })
    app.all('/', async (request, reply) => {
      const { status, body = '', type } = await bot({ body: request.body, lock: request.sessionLock })
      if (type) reply.type(type)
      return reply.code(status).send(body)
    })
    await app.listen({ port: 0, host: '127.0.0.1' })
    stops.push(() => app.close())
    return urlOf(app.server)
  },
}

const koa: Framework = {
  name: 'Koa',
  start(lock, bot) {
    const app = new Koa()
    app.silent = true
    app.use(koaLock(lock))
    app.use(async (context) => {
      const { body } = context.request as { body?: unknown }
      const reply = await bot({ body, lock: context.state['sessionLock'] })
      context.status = reply.status
      context.body = reply.body ?? ''
      if (reply.type) context.type = reply.type
    })
    return serve(app.callback())
  },
}

const hono: Framework = {
  name: 'Hono',
  start(lock, bot) {
    const app = new Hono()
    app.onError((_error, context) => context.text('error page', 500))
    app.use(honoLock(lock))
    app.all('/', async (context) => {
      const { method } = context.req
      const body: unknown = method === 'GET' ? undefined : parsed(await context.req.text())
      return asWeb(await bot({ body, lock: context.get('sessionLock') }))
    })
    return serve(getRequestListener(app.fetch))
  },
}

const fetchStyle: Framework = {
  name: 'fetch',
  start(lock, bot) {
    const handler = wrapFetch(lock, async (request, { sessionLock }) => {
      const body = sessionLock ? sessionLock.body : request.body && parsed(await request.text())
      return asWeb(await bot({ body, lock: sessionLock }))
    })
    return serve(getRequestListener((request) => handler(request)))
  },
}

/** Decorated by hand: TypeScript's own syntax for it is more than types. */
const nest: Framework = {
  name: 'NestJS',
  async start(lock, bot) {
    class Webhook {
      async receive(req: ExpressRequest, res: ExpressResponse): Promise<void> {
        const reply = await bot({ body: req.body, lock: req.sessionLock }).catch((error: Error) => {
          throw new HttpException(error.message, 500)
        })
        await answerExpress(res, reply)
      }
    }
    const { prototype } = Webhook
    const descriptor = Object.getOwnPropertyDescriptor(prototype, 'receive') as PropertyDescriptor
    All()(prototype, 'receive', descriptor)
    Req()(prototype, 'receive', 0)
    Res()(prototype, 'receive', 1)
    Controller()(Webhook)
    class App {}
    Module({ controllers: [Webhook] })(App)
    const app = await NestFactory.create(App, { logger: false })
    app.use(expressLock(lock))
    await app.listen(0, '127.0.0.1')
    return urlOf(app.getHttpServer())
  },
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return Object.fromEntries(new URLSearchParams(text))
  }
}

/** A delivery, as a request to a bot that no server stands before. */
export function ask(body: unknown, init: RequestInit = {}): Request {
  const headers = { 'content-type': 'application/json' }
  return new Request('http://bot/', { method: 'POST', headers, body: JSON.stringify(body), ...init })
}

/** Says nothing. */
export const silent = pino({ enabled: false })

export const frameworks: readonly Framework[] = [...expresses, wrapped, nodeHttp, fastify, koa, hono, fetchStyle, nest]
