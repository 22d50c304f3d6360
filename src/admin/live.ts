/** Keeps pages up to date: one reading of the store for all who look, and none while nobody does. */
import { type Sink, troubleWith } from './answer.ts'
import type { Sections } from './sections.ts'

/** Counting a large table takes a while: of the database's time, looking takes no more than this share. */
const MOST_SHARE = 0.2
/** Proxies cut what says nothing. */
const HEARTBEAT_MS = 15_000
/** Then a stream ends. The page asks for another one by itself, and whether it may look is asked again. */
const STREAM_MS = 300_000
/** How soon it asks. */
const AGAIN_MS = 1000

export interface Live {
  /** Sends what has changed, until `ended` aborts, but for {@link STREAM_MS} at most. */
  stream(sink: Sink, ended: AbortSignal): void
  /** Ends all streams. */
  stop(): void
}

/** `read`: what is shown now. `abandoned` is called when the last one who looks has gone. */
export function createLive(read: () => Promise<Sections>, everyMs: number, abandoned: () => void): Live {
  const watchers = new Set<Watcher>()
  let timer: NodeJS.Timeout | undefined
  let isReading = false
  let isStopped = false

  async function refresh(): Promise<void> {
    timer = undefined
    isReading = true
    const begunAt = performance.now()
    try {
      const sections = await read()
      for (const watcher of watchers) watcher.show(sections)
    } catch (error) {
      for (const watcher of watchers) watcher.tell('down', troubleWith(error))
    }
    isReading = false
    if (watchers.size > 0 && !isStopped) {
      const took = performance.now() - begunAt
      timer = setTimeout(() => void refresh(), Math.max(everyMs, took / MOST_SHARE - took))
      timer.unref()
    }
  }

  function left(watcher: Watcher): void {
    if (!watchers.delete(watcher) || watchers.size > 0) return
    clearTimeout(timer)
    timer = undefined
    abandoned()
  }

  return {
    stream(sink, ended) {
      if (isStopped || ended.aborted) return sink.end()
      const watcher = createWatcher(sink, () => left(watcher))
      watchers.add(watcher)
      ended.addEventListener('abort', watcher.leave)
      if (!timer && !isReading) void refresh()
    },
    stop() {
      isStopped = true
      clearTimeout(timer)
      for (const watcher of watchers) watcher.leave()
    },
  }
}

interface Watcher {
  show(sections: Sections): void
  tell(event: string, value: unknown): void
  /** Is sent nothing more. */
  leave(): void
}

/** Sends each part when it is another one than before. Who does not read is sent the latest once they do. */
function createWatcher(sink: Sink, left: () => void): Watcher {
  const shown = new Map<string, string>()
  const tell = (event: string, value: unknown): void => {
    if (!sink.isFull()) sink.write(`event: ${event}\nretry: ${AGAIN_MS}\ndata: ${JSON.stringify(value)}\n\n`)
  }
  const heartbeat = setInterval(() => tell('alive', ''), HEARTBEAT_MS).unref()
  const limit = setTimeout(leave, STREAM_MS).unref()

  function leave(): void {
    clearInterval(heartbeat)
    clearTimeout(limit)
    left()
    sink.end()
  }

  return {
    tell,
    leave,
    show(sections) {
      if (sink.isFull()) return
      const changed = Object.entries(sections).filter(([id, { html }]) => shown.get(id) !== html)
      for (const [id, { html }] of changed) shown.set(id, html)
      if (changed.length === 0) tell('alive', '')
      else tell('sections', Object.fromEntries(changed.map(([id, { html }]) => [id, html])))
    },
  }
}
