/** Receiving over HTTP: verify, store, answer at once. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Delivery } from '../engine/delivery.ts'
import { KeyError } from '../engine/errors.ts'
import { createBodyReader } from '../http/body.ts'
import { type ClaimingLock, isClaimable } from '../http/claim.ts'
import { type Answer, duplicateAnswer, handshakeAnswer, queuedAnswer, refuse, refuseError } from '../http/decision.ts'
import type { Exchange } from '../http/exchange.ts'
import { type NextLike, NodeExchange, type RequestLike } from '../http/node-exchange.ts'
import { createReceiver, type ReceivedDelivery } from '../http/receive.ts'
import type { Provider } from '../providers/provider.ts'

/** What became of a delivery that was handed over: kept now, kept or handled before, or nothing to key on. */
export type Accepted = 'queued' | 'duplicate' | 'unkeyed'

/** Stores a delivery. `payloadOf`: the body of the message at this position. */
export type Accept = (delivery: Delivery, payloadOf: (position: number) => unknown) => Promise<Accepted>

/** Express's middleware, and that of whatever calls its middleware as it does. */
export type InboxMiddleware = (request: RequestLike & IncomingMessage, response: ServerResponse, next: NextLike) => void

export function createInboxMiddleware(lock: ClaimingLock, accept: Accept, maxInFlight: number): InboxMiddleware {
  const receive = createReceiver(lock.options, lock.log)
  const readBody = createBodyReader(lock.options.bodyLimitBytes)
  let inFlight = 0

  /** `undefined`: not for us, it is for the handlers as it came. */
  async function answerTo(exchange: Exchange): Promise<Answer | undefined> {
    const read = await exchange.read()
    if ('refusal' in read) {
      lock.log.warn({ status: read.refusal.status }, 'failed to read the body')
      return read.refusal
    }
    const received = receive(read.incoming)
    switch (received.outcome) {
      case 'untouched':
        return undefined
      case 'handshake':
        return handshakeAnswer(received.answer)
      case 'unsigned':
        lock.log.warn({ status: 401 }, `failed to verify the signature of a ${received.provider} delivery`)
        return refuse('invalid-signature')
      case 'unreadable':
        lock.log.warn({ status: 400 }, `failed to read a ${received.provider} delivery`)
        return refuse('invalid-key', received)
    }
    return store(received, read.incoming.body)
  }

  async function store({ delivery, reduce }: ReceivedDelivery, body: unknown): Promise<Answer | undefined> {
    try {
      const payloads = reduce && bodiesOfEach(reduce, body, delivery.messages.length)
      const accepted = await accept(delivery, (position) => (payloads ? payloads[position] : body))
      if (accepted === 'unkeyed') return undefined
      return accepted === 'queued' ? queuedAnswer : duplicateAnswer
    } catch (error) {
      const refusal = refuseError(error)
      if (!refusal) throw error
      if (error instanceof KeyError) lock.log.error({ err: error }, 'failed to store a delivery')
      return refusal
    }
  }

  return (request, response, next) => {
    if (!isClaimable(lock, request, request.method)) {
      next()
      return
    }
    const exchange = new NodeExchange(request, response, readBody)
    if (inFlight >= maxInFlight) {
      // Its body is not read: the connection goes with the answer, or what is left of it would be taken for a request.
      const { headers, ...refusal } = refuse('overloaded')
      exchange.send({ ...refusal, headers: { ...headers, Connection: 'close' } })
      return
    }
    inFlight += 1
    answerTo(exchange)
      .finally(() => {
        inFlight -= 1
      })
      .then((answer) => {
        if (answer) exchange.send(answer)
        else next()
      }, next)
  }
}

/**
 * The bodies with one message each, in their order. By halves, as each part of a long body is then gone through a few
 * times, and not once for every message.
 */
export function bodiesOfEach(reduce: NonNullable<Provider['reduce']>, body: unknown, messages: number): unknown[] {
  if (messages <= 1) return [body]
  const half = Math.ceil(messages / 2)
  const part = (first: number, count: number): unknown[] => {
    const kept = new Set(Array.from({ length: count }, (_, index) => first + index))
    return bodiesOfEach(reduce, reduce(body, kept), count)
  }
  return [...part(0, half), ...part(half, messages - half)]
}
