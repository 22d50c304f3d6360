/** The one connection that listens. What it tells only spares waiting: without it, who waits asks again, later. */
import type { Opened, Source } from './postgres-connection.ts'

/** A listening connection that comes back after each loss, until it is closed. */
export interface Listener {
  close(): Promise<void>
}

const FIRST_RETRY_MS = 100
const LAST_RETRY_MS = 30_000

/** Listens from now on; `released` gets the keys of rows that became free. */
export function listenForReleases(
  source: Source,
  tablePrefix: string,
  connectMs: number,
  released: (rowKey: string) => void,
): Listener {
  let current: Opened | undefined
  let timer: NodeJS.Timeout | undefined
  let closed = false
  let retryMs = FIRST_RETRY_MS

  function again(): void {
    if (closed) return
    timer = setTimeout(start, retryMs)
    timer.unref()
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS)
  }

  function start(): void {
    // Where it cannot be had (a pool that is too small, a pooler that forbids it), nothing breaks.
    connect().catch(again)
  }

  async function connect(): Promise<void> {
    const fresh = await source.connect(connectMs)
    if (closed) return fresh.cut()
    current = fresh
    fresh.client.on('notification', ({ payload = '' }: { payload?: string }) => {
      released(Buffer.from(payload, 'hex').toString())
    })
    try {
      await fresh.client.query({ text: `LISTEN "${tablePrefix.toLowerCase()}released"` })
    } catch (error) {
      current = undefined
      fresh.cut()
      throw error
    }
    retryMs = FIRST_RETRY_MS
    fresh.client.on('end', () => {
      if (current !== fresh) return
      current = undefined
      fresh.cut()
      again()
    })
  }

  start()
  return {
    async close() {
      closed = true
      clearTimeout(timer)
      const left = current
      current = undefined
      left?.cut()
    },
  }
}
