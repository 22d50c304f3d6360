/**
 * When is a handler finished? When it has ended the response and every `waitUntil` has settled; a wrapped
 * handler's own promise counts as one. Neither `finish` nor `close` tells: once the client is gone, the
 * first never fires, and the second fires while the handler still runs, just when the provider is about
 * to come again.
 */
import type { Logger } from 'pino'
import type { HandlerResult, Hold } from '../engine/delivery.ts'
import { refuse } from './decision.ts'
import type { Exchange, HandlerEnd } from './exchange.ts'
import type { CapturedAnswer } from './replay.ts'

/** One handler at work on one response. */
export interface HandlerRun {
  /** The message is not settled before this is; a rejection fails it. */
  waitUntil(promise: PromiseLike<unknown>): void
  /** As `waitUntil`, for the handler itself: when it throws, nobody need end the response any more. */
  follow(handler: PromiseLike<unknown>): void
  /** The message fails, whatever the answer. */
  fail(error: unknown): void
  /** Does the answer wait until the message is settled? */
  readonly isHeldBack: boolean
}

export interface HandlerRunInput {
  readonly hold: Hold
  readonly staleAfterMs: number
  readonly isSuccess: ((status: number) => boolean) | undefined
  readonly log: Logger
  /** The answer waits until the hold is settled. */
  readonly isHeldBack: boolean
  /** What is kept with the completed message, made of the answer where it was captured. */
  readonly toStore?: (answer: CapturedAnswer | undefined) => Uint8Array | undefined
}

/** 2xx and 3xx, and the refusals that say "never send this again". */
export function isSuccessByDefault(status: number): boolean {
  return (status >= 200 && status < 400) || status === 400 || status === 410 || status === 422
}

/** Watches the exchange from before the handler runs until the handler is finished; then settles the hold. */
export function watchHandler(exchange: Exchange, input: HandlerRunInput): HandlerRun {
  return new WatchedRun(exchange, input)
}

/** A class, as there is one for each request. */
class WatchedRun implements HandlerRun {
  readonly #exchange: Exchange
  readonly #input: HandlerRunInput
  #pending = 0
  #isOver = false
  #isSettled = false
  #answersSuccess = false
  #status: number | undefined
  #captured: CapturedAnswer | undefined
  #failure: { readonly error: unknown } | undefined

  constructor(exchange: Exchange, input: HandlerRunInput) {
    this.#exchange = exchange
    this.#input = input
    exchange.onEnd((end) => this.#ended(end))
    watchSoon(this)
  }

  /** Most handlers that acknowledge at once have ended by now, and nobody need listen for their clients. */
  watchClient(): void {
    if (this.#isOver) return
    this.#exchange.onDeserted(() => {
      // A connection also closes after a good end: a timer then would keep the whole request for `staleAfterMs`.
      if (!this.#isOver) this.#lookAgain(this.#exchange.hasBegun())
    })
  }

  get isHeldBack(): boolean {
    return this.#input.isHeldBack
  }

  fail(error: unknown): void {
    this.#failure ??= { error }
  }

  waitUntil(promise: PromiseLike<unknown>): void {
    const { log } = this.#input
    if (this.#isSettled)
      log.error(
        'failed to wait: waitUntil() was called after the message was settled; call it before ending the response',
      )
    this.#pending += 1
    const done = (): void => {
      this.#pending -= 1
      this.settleIfFinished()
    }
    Promise.resolve(promise).then(done, (error: unknown) => {
      if (this.#isSettled)
        log.error({ err: error }, 'failed after the message was settled: the promise given to waitUntil()')
      this.fail(error)
      done()
    })
  }

  follow(handler: PromiseLike<unknown>): void {
    Promise.resolve(handler).then(undefined, () => this.#over())
    this.waitUntil(handler)
  }

  settleIfFinished(): void {
    if (this.#isSettled || !this.#isOver || this.#pending > 0) return
    this.#isSettled = true
    const result = this.#result()
    const { hold, isHeldBack } = this.#input
    if (isHeldBack) void hold.settle(result).then(() => this.#letGo(result))
    else hold.end(result)
  }

  /** No success leaves unless the message is completed: else nobody would bring it again. */
  #letGo(result: HandlerResult): void {
    const { hold, log } = this.#input
    const isCompleted = result.status === 'completed' && !hold.rolledBack
    try {
      this.#exchange.letGo(!isCompleted && this.#answersSuccess ? refuse('not-committed') : undefined)
    } catch (error) {
      log.error({ err: error }, 'failed to send an answer that was held back until the commit')
      this.#exchange.letGo(refuse('not-committed'))
    }
  }

  #ended(end: HandlerEnd): void {
    if (end.failure) this.fail(end.failure)
    if (this.#status === undefined) this.#captured = end.answer
    this.#status ??= end.status
    this.#over()
  }

  #over(): void {
    this.#isOver = true
    settleSoon(this)
  }

  #result(): HandlerResult {
    const { isSuccess = isSuccessByDefault, toStore } = this.#input
    const status = this.#status
    try {
      this.#answersSuccess = status !== undefined && isSuccess(status)
      if (!this.#answersSuccess) this.fail(new Error(`the handler answered ${status}`))
    } catch (error) {
      this.fail(error)
    }
    if (this.#failure) return { status: 'failed', error: this.#failure.error }
    const response = toStore?.(this.#captured)
    return response ? { status: 'completed', response } : COMPLETED
  }

  /**
   * The client is gone, and the handler may have been told so: `pipeline(stream, res)` gives up without
   * ending the response. Whoever has begun to answer and has not ended by then will not.
   */
  #lookAgain(hadBegun: boolean): void {
    const { hold, staleAfterMs } = this.#input
    const timer = setTimeout(() => {
      if (this.#isOver || hold.signal.aborted) return
      if (!hadBegun || this.#pending > 0) this.#lookAgain(this.#exchange.hasBegun())
      else {
        this.fail(new Error('the connection was closed in the middle of the answer, and the handler never ended it'))
        this.#over()
      }
    }, staleAfterMs)
    timer.unref()
  }
}

const COMPLETED: HandlerResult = { status: 'completed' }

const watchSoon = soon((run) => run.watchClient())
/** Not at once: `res.sendStatus(200); req.sessionLock.waitUntil(work())` is how bots are written. */
const settleSoon = soon((run) => run.settleIfFinished())

/** Does it when this turn of the event loop is over, for all at once. */
function soon(work: (run: WatchedRun) => void): (run: WatchedRun) => void {
  let waiting: WatchedRun[] = []
  const workOff = (): void => {
    const runs = waiting
    waiting = []
    for (const run of runs) work(run)
  }
  return (run) => {
    if (waiting.length === 0) setImmediate(workOff)
    waiting.push(run)
  }
}
