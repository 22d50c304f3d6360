/** A bot on loopback, on either Express, behind a real lock or one that says what it is told to. */

import { request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { Readable } from 'node:stream'
import express5, { type Express, type Response as ExpressResponse, type Request } from 'express'
import { pino } from 'pino'
import { afterEach } from 'vitest'
import type { Delivery, DeliveryOutcome, HandlerResult, Hold, Withheld } from '../../src/engine/delivery.ts'
import { resolveOptions, type SessionLockOptions } from '../../src/engine/options.ts'
import { type ClaimingLock, sessionLock, withSessionLock } from '../../src/http/express.ts'

const express4 = createRequire(import.meta.url)('express4') as typeof express5

/** Both are to behave alike. */
export const expressVersions: ReadonlyArray<readonly [string, typeof express5]> = [
  ['Express 4', express4],
  ['Express 5', express5],
]

const servers: Server[] = []

afterEach(async () => {
  await Promise.all(
    servers.splice(0).map((server) => {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(resolve))
    }),
  )
})

/** Starts it on a port of the system's choosing; it stops after the test. */
export async function listen(app: Express): Promise<string> {
  const server = await new Promise<Server>((resolve) => {
    const started = app.listen(0, '127.0.0.1', () => resolve(started))
  })
  servers.push(server)
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A WhatsApp delivery of messages of these people: `wamid.<name>` from `<name>`. */
export function whatsapp(...people: string[]): object {
  const messages = people.map((name) => ({ from: name, id: `wamid.${name}`, type: 'text', text: { body: 'hello' } }))
  const value = { metadata: { phone_number_id: '1000' }, contacts: [{ wa_id: people[0] }], messages }
  return { object: 'whatsapp_business_account', entry: [{ id: '1', changes: [{ field: 'messages', value }] }] }
}

export function post(url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return fetch(url, {
    method: 'POST',
    redirect: 'manual',
    headers: { 'content-type': 'application/json', ...headers },
    body: text,
  })
}

/** Posts, and closes the connection at a moment, or once the first bytes of the answer are there. */
export function postAndLeave(url: string, body: unknown, leaveAt: Promise<unknown> | 'first bytes'): Promise<void> {
  return new Promise((resolve) => {
    const request = httpRequest(url, { method: 'POST', headers: { 'content-type': 'application/json' } })
    const leave = () => {
      request.destroy()
      resolve()
    }
    request.on('error', () => resolve())
    request.on('response', (response: IncomingMessage) => {
      response.on('error', () => resolve())
      if (leaveAt === 'first bytes') response.once('data', leave)
      else response.resume()
    })
    if (leaveAt !== 'first bytes') void leaveAt.then(leave)
    request.end(JSON.stringify(body))
  })
}

/** A moment that a test waits for, or lets come. */
export interface Gate {
  readonly passed: Promise<void>
  pass(): void
}

export function gate(): Gate {
  let pass: () => void = () => {}
  const passed = new Promise<void>((resolve) => {
    pass = resolve
  })
  return { passed, pass: () => pass() }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** An answer without an end. */
export function endless(): Readable {
  return Readable.from(
    (async function* () {
      while (true) {
        yield 'more '
        await pause(5)
      }
    })(),
  )
}

/** A hold that remembers how it was settled. */
export interface WatchedHold extends Hold {
  /** How it was settled, so far. */
  result: HandlerResult | undefined
  /** Resolves when it is. */
  readonly settled: Promise<HandlerResult>
}

export function holdOf(
  fresh: readonly number[],
  more: { duplicates?: readonly number[]; withheld?: Withheld | null; signal?: AbortSignal } = {},
): WatchedHold {
  let settle: (result: HandlerResult) => void = () => {}
  const settled = new Promise<HandlerResult>((resolve) => {
    settle = resolve
  })
  const hold: WatchedHold = {
    leases: [],
    fresh,
    duplicates: more.duplicates ?? [],
    withheld: more.withheld ?? null,
    signal: more.signal ?? new AbortController().signal,
    fencingToken: 7,
    within: (work) => work(),
    result: undefined,
    settled,
    settle(result) {
      hold.result ??= result
      settle(result)
      return Promise.resolve('settled')
    },
    end: (result) => void hold.settle(result),
  }
  return hold
}

/** A lock whose claims all end as told: with an outcome, or with an error. */
export function lockThat(outcome: DeliveryOutcome | Error, options: SessionLockOptions = {}) {
  const deliveries: Delivery[] = []
  const lines: string[] = []
  const logger = pino({ level: 'debug' }, { write: (line: string) => lines.push(line) })
  const lock: ClaimingLock = {
    options: resolveOptions({ store: 'memory:', ...options, logger }),
    log: logger,
    claim(delivery) {
      deliveries.push(delivery)
      return outcome instanceof Error ? Promise.reject(outcome) : Promise.resolve(outcome)
    },
  }
  return { lock, deliveries, lines }
}

/** A lock that gives every delivery to the handler, all of it. */
export function lockThatGives(hold: Hold, options: SessionLockOptions = {}) {
  return lockThat({ outcome: 'acquired', hold }, options)
}

export type Handler = (req: Request, res: ExpressResponse) => unknown

/** Makes bots with one handler, behind `app.use` or wrapped, on a lock that gives them everything. */
export function botOn(express: typeof express5) {
  return async (
    handler: Handler,
    more: { wrapped?: boolean; options?: SessionLockOptions; signal?: AbortSignal } = {},
  ) => {
    const hold = holdOf([0], more.signal ? { signal: more.signal } : {})
    const { lock, lines } = lockThatGives(hold, more.options)
    const app = express()
    const errors: unknown[] = []
    if (more.wrapped) app.post('/', withSessionLock(lock, handler))
    else {
      app.use(sessionLock(lock))
      app.post('/', (req, res, next) => void (async () => handler(req, res))().catch(next))
    }
    app.use((error: unknown, _req: Request, res: ExpressResponse, next: (error: unknown) => void) => {
      errors.push(error)
      if (res.headersSent) next(error)
      else res.status(500).send('error page')
    })
    return { url: await listen(app), hold, errors, lines }
  }
}
