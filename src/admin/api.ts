/** The JSON that stands under `/api`. */
import { arch, platform } from 'node:process'
import { examineStore } from '../engine/doctor.ts'
import { LOOKED_THROUGH } from '../engine/inspection.ts'
import { engineOf, type SessionLock } from '../engine/lock.ts'
import { type AdminAnswer, json } from './answer.ts'
import { AskedWrongly, messagesFilter, nameAsked, sessionsFilter } from './asked.ts'
import type { Masking } from './masking.ts'
import type { View } from './view.ts'

/** The part of a request that the API reads. */
interface Asked {
  readonly query: URLSearchParams
  /** Of a POST. */
  readonly body: Readonly<Record<string, unknown>>
  /** Who asks, for the log. */
  readonly who: string
}

type Route = (asked: Asked) => Promise<AdminAnswer>

/** Throws {@link AskedWrongly} where it cannot be met. */
export interface Api {
  /** What is asked with GET. */
  readonly reads: Readonly<Record<string, Route>>
  /** What changes something, with POST. */
  readonly changes: Readonly<Record<string, Route>>
}

export function createApi(lock: SessionLock, masking: Masking, view: () => Promise<View>, version: string): Api {
  const startedAt = Date.now()

  function log(who: string, action: string, details: Record<string, unknown>): void {
    lock.log.warn({ node: lock.options.nodeId, who, action, ...details }, `changed by the admin: ${action}`)
  }

  async function release({ body, who }: Asked): Promise<AdminAnswer> {
    const force = body['force'] === true
    const rows =
      body['stale'] === true ? await lock.sessions({ stale: true, limit: LOOKED_THROUGH }) : await heldBy(body)
    const released = await lock.releaseSessions(
      rows.map(({ key }) => key),
      { force: force && body['stale'] !== true },
    )
    log(who, 'release', { released: released.length, asked: rows.length, force })
    const done = new Set(released.map(({ key }) => key))
    const refused = rows.filter(({ key }) => !done.has(key)).map((row) => masking.session(row).name)
    return json(200, { released: released.map(masking.session), refused })
  }

  async function heldBy(body: Asked['body']) {
    return masking.named(await lock.sessions({ limit: LOOKED_THROUGH }), textsIn(body, 'handles'))
  }

  async function change({ body, who }: Asked, action: 'retry' | 'discard'): Promise<AdminAnswer> {
    const handles = textsIn(body, 'handles')
    const rows = [...(await lock.messages({ status: 'dead', limit: LOOKED_THROUGH }))]
    if (action === 'discard') rows.push(...(await lock.messages({ status: 'queued', limit: LOOKED_THROUGH })))
    const keys = masking.named(rows, handles).map(({ key }) => key)
    const count = keys.length === 0 ? 0 : await lock[action](...keys)
    log(who, action, { messages: count })
    return json(200, { count })
  }

  return {
    reads: {
      async sessions({ query }) {
        return json(200, (await lock.sessions(sessionsFilter(query))).map(masking.session))
      },
      async messages({ query }) {
        return json(200, (await lock.messages(messagesFilter(query))).map(masking.message))
      },
      async find({ query }) {
        const found = await lock.find(nameAsked(query))
        return json(200, {
          sessions: found.sessions.map(masking.session),
          messages: found.messages.map(masking.message),
        })
      },
      async stats() {
        const { now, stats, nodes, sessions } = await view()
        return json(200, { now, ...stats, nodes, stale: sessions.filter(({ stale }) => stale) })
      },
      async server() {
        const { nodeId, strategy, staleAfterMs, lockWaitMs, retentionMs } = lock.options
        const engine = engineOf(lock)
        return json(200, {
          nodeId,
          version,
          startedAt,
          uptimeMs: Math.round(process.uptime() * 1000),
          process: { pid: process.pid, node: process.version, platform: `${platform} ${arch}` },
          store: (await engine?.store())?.name ?? null,
          pool: poolOf(lock.options.store),
          counts: lock.counts(),
          options: { strategy, staleAfterMs, lockWaitMs, retentionMs },
        })
      },
      async doctor() {
        const store = await engineOf(lock)?.store()
        return json(200, store ? await examineStore(store, lock, masking.shown) : [])
      },
    },
    changes: {
      release,
      retry: (asked) => change(asked, 'retry'),
      discard: (asked) => change(asked, 'discard'),
      async cleanup({ who }) {
        const removed = await lock.cleanup()
        log(who, 'cleanup', { ...removed })
        return json(200, removed)
      },
    },
  }
}

/** Of a pool that was handed over and tells; null elsewhere. */
function poolOf(source: unknown): { total: number; idle: number; waiting: number } | null {
  const { totalCount, idleCount, waitingCount } = source as Record<string, unknown>
  if (typeof totalCount !== 'number') return null
  return { total: totalCount, idle: Number(idleCount), waiting: Number(waitingCount) }
}

function textsIn(body: Asked['body'], name: string): string[] {
  const value = body[name]
  if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value
  throw new AskedWrongly(`"${name}" must be an array of texts, as the lists have them`)
}
