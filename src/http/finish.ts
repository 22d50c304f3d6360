/**
 * When is a handler finished? When it has ended the response and every `waitUntil` has settled; a wrapped
 * handler's own promise counts as one. Neither `finish` nor `close` tells: once the client is gone, the
 * first never fires, and the second fires while the handler still runs, just when the provider is about
 * to come again.
 */
import type { Logger } from 'pino'
import type { HandlerResult, Hold } from '../engine/delivery.ts'
import type { Exchange } from './exchange.ts'
import type { CapturedAnswer } from './replay.ts'

/** One handler at work on one response. */
export interface HandlerRun {
  /** The message is not settled before this is; a rejection fails it. */
  waitUntil(promise: PromiseLike<unknown>): void
  /** As `waitUntil`, for the handler itself: when it throws, nobody need end the response any more. */
  follow(handler: PromiseLike<unknown>): void
  /** The message fails, whatever the answer. */
  fail(error: unknown): void
}

export interface HandlerRunInput {
  readonly hold: Hold
  readonly staleAfterMs: number
  readonly isSuccess: ((status: number) => boolean) | undefined
  readonly log: Logger
  /** What is kept with the completed message, made of the answer where it was captured. */
  readonly toStore?: (answer: CapturedAnswer | undefined) => Uint8Array | undefined
}

/** 2xx and 3xx, and the refusals that say "never send this again". */
export function isSuccessByDefault(status: number): boolean {
  return (status >= 200 && status < 400) || status === 400 || status === 410 || status === 422
}

/** Watches the exchange from before the handler runs until the handler is finished; then settles the hold. */
export function watchHandler(exchange: Exchange, input: HandlerRunInput): HandlerRun {
  const { hold, staleAfterMs, log, isSuccess = isSuccessByDefault } = input
  let pending = 0
  let isOver = false
  let isSettled = false
  let status: number | undefined
  let captured: CapturedAnswer | undefined
  let failure: { readonly error: unknown } | undefined

  const fail = (error: unknown): void => {
    failure ??= { error }
  }

  const over = (): void => {
    isOver = true
    // Not at once: `res.sendStatus(200); req.sessionLock.waitUntil(work())` is how bots are written.
    setImmediate(settleIfFinished)
  }

  function settleIfFinished(): void {
    if (isSettled || !isOver || pending > 0) return
    isSettled = true
    // It never rejects; and the answer is out, so nobody waits for it.
    void hold.settle(result())
  }

  function result(): HandlerResult {
    try {
      if (!failure && !(status !== undefined && isSuccess(status))) fail(new Error(`the handler answered ${status}`))
    } catch (error) {
      fail(error)
    }
    if (failure) return { status: 'failed', error: failure.error }
    const response = input.toStore?.(captured)
    return { status: 'completed', ...(response && { response }) }
  }

  function waitUntil(promise: PromiseLike<unknown>): void {
    if (isSettled)
      log.error(
        'failed to wait: waitUntil() was called after the message was settled; call it before ending the response',
      )
    pending += 1
    const done = (): void => {
      pending -= 1
      settleIfFinished()
    }
    Promise.resolve(promise).then(done, (error: unknown) => {
      if (isSettled) log.error({ err: error }, 'failed after the message was settled: the promise given to waitUntil()')
      fail(error)
      done()
    })
  }

  function follow(handler: PromiseLike<unknown>): void {
    Promise.resolve(handler).then(undefined, over)
    waitUntil(handler)
  }

  exchange.onEnd((end) => {
    if (end.failure) fail(end.failure)
    if (status === undefined) captured = end.answer
    status ??= end.status
    over()
  })
  exchange.onDeserted(() => {
    // A connection also closes after a good end: a timer then would keep the whole request for `staleAfterMs`.
    if (!isOver) lookAgain(exchange.hasBegun())
  })

  /**
   * The client is gone, and the handler may have been told so: `pipeline(stream, res)` gives up without
   * ending the response. Whoever has begun to answer and has not ended by then will not.
   */
  function lookAgain(hadBegun: boolean): void {
    const timer = setTimeout(() => {
      if (isOver || hold.signal.aborted) return
      if (!hadBegun || pending > 0) lookAgain(exchange.hasBegun())
      else {
        fail(new Error('the connection was closed in the middle of the answer, and the handler never ended it'))
        over()
      }
    }, staleAfterMs)
    timer.unref()
  }

  return { waitUntil, follow, fail }
}
