/** Sources without webhooks: a table that another service fills, an API that is asked for what is new. */
import { type Engine, requireQueue } from '../engine/engine.ts'
import type { Timer } from '../engine/port.ts'
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
   */
  readonly fetch: (after: string | null) => Promise<Page>
  /** How often it is asked while it has nothing. Default 1000. */
  readonly everyMs?: number | undefined
}

/** Stop it with `stop()`. */
export interface Poller {
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
  let stopped = false
  let timer: Timer | undefined
  let round: Promise<void> = Promise.resolve()

  async function readPages(signal: AbortSignal): Promise<void> {
    const queue = requireQueue(await engine.store())
    let position = await queue.position(source)
    while (!stopped && !signal.aborted) {
      const page = await fetch(position)
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
      engine.log.raw.error({ err: error, source }, 'failed to poll a source; trying again')
    }
    if (!stopped) timer = port.after(everyMs * (0.75 + port.random() / 2), next)
  }

  function next(): void {
    round = ask()
  }

  next()
  return {
    async stop() {
      stopped = true
      timer?.cancel()
      await round
    },
  }
}
