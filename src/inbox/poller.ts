/** Sources without webhooks: a table that another service fills, an API that is asked for what is new. */
import { type Engine, requireQueue } from '../engine/engine.ts'
import { type Timer, within } from '../engine/port.ts'
import type { Arrival } from '../store/queue.ts'

/** What a source gave: messages, and the position after them. */
export interface Page {
  /** Each with an id that it keeps; `payload` is what the handler gets. */
  readonly messages: ReadonlyArray<{
    readonly id: string
    readonly prospect?: string | undefined
    readonly device?: string | undefined
    readonly payload: unknown
  }>
  /** Where to go on: whatever text `fetch` understands. null: nothing was there. */
  readonly next: string | null
}

export interface PollOptions {
  /** Names the source: its position is kept under this name. */
  readonly source: string
  /**
   * Asks for what comes after a position (null: from the beginning). It may give again what it gave before: what is
   * known is not stored twice. So let the position of a page that ends within equal timestamps be just before them.
   * The signal aborts when the answer is not wanted any longer.
   */
  readonly fetch: (after: string | null, signal: AbortSignal) => Promise<Page>
  /** How often it is asked while it has nothing. Default 1000. */
  readonly everyMs?: number | undefined
}

export interface Poller {
  /** Asks no more, and resolves when what was being asked is stored, or the lock's `closeTimeoutMs` is over. */
  stop(): Promise<void>
}

/**
 * Asks the source, on one node at a time: whoever holds the session of the source. The position moves in the transaction
 * that stores the page, and only from where the page was asked for: so no crash skips anything, and nothing is doubled
 * by a poller that was slow to notice that another one has taken over.
 */
export function startPoller(
  engine: Engine,
  options: PollOptions,
  alone: (work: (signal: AbortSignal) => Promise<void>) => Promise<unknown>,
  arrivalOf: (page: Page) => Promise<Arrival>,
  stored: () => void,
): Poller {
  const { port } = engine
  const { source, fetch, everyMs = 1000 } = options
  const stopping = new AbortController()
  let timer: Timer | undefined
  let round: Promise<void> = Promise.resolve()

  async function readPages(isMine: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([isMine, stopping.signal])
    const queue = requireQueue(await engine.store())
    let position = await queue.position(source)
    while (!signal.aborted) {
      const page = await fetch(position, signal)
      if (page.next === null || page.next === position) return
      const verdict = await queue.enqueueFrom(source, position, page.next, await arrivalOf(page))
      // Another node has read on meanwhile.
      if (verdict === null) return
      if (verdict.includes('queued')) stored()
      position = page.next
    }
  }

  async function ask(): Promise<void> {
    try {
      await alone(readPages)
    } catch (error) {
      if (!stopping.signal.aborted)
        engine.log.raw.error({ err: error, source }, 'failed to poll a source; trying again')
    }
    if (!stopping.signal.aborted) timer = port.after(everyMs * (0.75 + port.random() / 2), next)
  }

  function next(): void {
    round = ask()
  }

  next()
  return {
    async stop() {
      stopping.abort()
      timer?.cancel()
      await within(port, engine.options.closeTimeoutMs, round)
    },
  }
}
