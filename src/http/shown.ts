/** What a handler sees of its lock, and where: `req.sessionLock`. */
import { IncomingMessage } from 'node:http'
import type { Delivery, DeliveryMessage, Hold } from '../engine/delivery.ts'
import type { Lease } from '../engine/lease.ts'
import type { RequestLock } from './exchange.ts'
import type { HandlerRun } from './finish.ts'

/** By its request. Of two middlewares that meet one, the second one sees by this that it is claimed. */
const shownLocks = new WeakMap<object, ShownLock>()

/** The run that a request is in already, where an earlier middleware has claimed it. */
export function runOf(request: object): HandlerRun | undefined {
  return shownLocks.get(request)?.run
}

/** Marks a request as claimed. */
export function createShown(request: object, delivery: Delivery, hold: Hold, run: HandlerRun): RequestLock {
  const shown = new ShownLock(delivery, hold, run)
  shownLocks.set(request, shown)
  return shown
}

/**
 * Makes it readable as `request.sessionLock`. Express gives each request the prototype of its app, after which every
 * property that is added to one costs 1.4 kB, a hidden class of its own. So it is read through the prototype there.
 */
export function showOn(request: object & { sessionLock?: RequestLock }, lock: RequestLock): void {
  if (!isReadThrough(request)) request.sessionLock = lock
}

/** Express's own prototype, which those of all its apps inherit from; of each copy of Express. */
const readThrough = new WeakSet<object>()

function isReadThrough(request: object): boolean {
  let own: object | undefined
  for (let at: object | null = Object.getPrototypeOf(request); at !== null; at = Object.getPrototypeOf(at)) {
    if (readThrough.has(at)) return true
    if (at === IncomingMessage.prototype) break
    own = at
  }
  if (own === undefined || !(request instanceof IncomingMessage) || 'sessionLock' in own) return false
  Object.defineProperty(own, 'sessionLock', {
    configurable: true,
    get(this: object) {
      return shownLocks.get(this)
    },
    set(this: object, value: unknown) {
      Object.defineProperty(this, 'sessionLock', { value, configurable: true, enumerable: true, writable: true })
    },
  })
  readThrough.add(own)
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
