/** What a handler sees of its lock, and where: `req.sessionLock`. */
import { IncomingMessage } from 'node:http'
import type { Delivery, DeliveryMessage, Hold } from '../engine/delivery.ts'
import type { Lease } from '../engine/lease.ts'
import type { RequestLock } from './exchange.ts'
import type { HandlerRun } from './finish.ts'

const SHOWN = Symbol('session-lock')

/**
 * Where a request carries what is shown. Express gives each request the prototype of its app, after which every
 * property that is added to one costs 1.4 kB: a hidden class of its own. The list of its headers has none of that,
 * and is the request's own for as long as it lives.
 */
function carrierOf(request: object): { [SHOWN]?: ShownLock } {
  return request instanceof IncomingMessage ? (request.rawHeaders as { [SHOWN]?: ShownLock }) : request
}

/** The run that a request is in already, where an earlier middleware has claimed it. */
export function runOf(request: object): HandlerRun | undefined {
  return carrierOf(request)[SHOWN]?.run
}

/** Marks a request as claimed: of two middlewares that meet it, the second one sees it by this. */
export function createShown(request: object, delivery: Delivery, hold: Hold, run: HandlerRun): RequestLock {
  const shown = new ShownLock(delivery, hold, run)
  carrierOf(request)[SHOWN] = shown
  return shown
}

/** Makes it readable as `request.sessionLock`: under Express through the prototype of all its requests. */
export function showOn(request: object & { sessionLock?: RequestLock }, lock: RequestLock): void {
  if (!isReadThrough(request)) request.sessionLock = lock
}

/** Prototypes that show it; one of each copy of Express. */
const showing = new Set<object>()

function isReadThrough(request: object): boolean {
  if (!(request instanceof IncomingMessage)) return false
  let last: object | undefined
  for (
    let at: object = Object.getPrototypeOf(request);
    at !== IncomingMessage.prototype;
    at = Object.getPrototypeOf(at)
  ) {
    if (showing.has(at)) return true
    last = at
  }
  if (last === undefined || 'sessionLock' in last) return false
  Object.defineProperty(last, 'sessionLock', {
    configurable: true,
    get(this: object) {
      return carrierOf(this)[SHOWN]
    },
    set(this: object, value: unknown) {
      Object.defineProperty(this, 'sessionLock', { value, configurable: true, enumerable: true, writable: true })
    },
  })
  showing.add(last)
  return true
}

const NONE: readonly never[] = Object.freeze([])

/** A class, as an object literal with a getter has a shape of its own each time, which costs more than the claim. */
class ShownLock implements RequestLock {
  readonly provider: string
  readonly messages: readonly DeliveryMessage[]
  readonly duplicates: readonly DeliveryMessage[]
  readonly #run: HandlerRun
  readonly #hold: Hold
  /** Often taken out: `const { waitUntil } = req.sessionLock`. */
  #waitUntil: RequestLock['waitUntil'] | undefined
  #fail: RequestLock['fail'] | undefined

  constructor({ provider, messages }: Delivery, hold: Hold, run: HandlerRun) {
    this.provider = provider
    this.messages = hold.fresh.length === messages.length ? messages : at(messages, hold.fresh)
    this.duplicates = at(messages, hold.duplicates)
    this.#run = run
    this.#hold = hold
  }

  get leases(): readonly Lease[] {
    return this.#hold.leases
  }
  get fencingToken(): number {
    return this.#hold.fencingToken
  }
  get signal(): AbortSignal {
    return this.#hold.signal
  }
  get run(): HandlerRun {
    return this.#run
  }
  get waitUntil(): RequestLock['waitUntil'] {
    this.#waitUntil ??= (promise) => this.#run.waitUntil(promise)
    return this.#waitUntil
  }
  get fail(): RequestLock['fail'] {
    this.#fail ??= (error) => this.#run.fail(error)
    return this.#fail
  }
}

function at(messages: readonly DeliveryMessage[], positions: readonly number[]): readonly DeliveryMessage[] {
  return positions.length === 0 ? NONE : positions.map((position) => messages[position] as DeliveryMessage)
}
