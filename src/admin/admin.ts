/** The admin, whatever the framework: from a request to its answer. */
import { readFileSync } from 'node:fs'
import { LOOKED_THROUGH } from '../engine/inspection.ts'
import { engineOf, requireEngine } from '../engine/lock.ts'
import { within } from '../engine/port.ts'
import type { Metrics } from '../metrics/prometheus.ts'
import { StoreError } from '../store/store.ts'
import { type AdminAnswer, type AdminRequest, isPassing, json, problem, text, troubleWith } from './answer.ts'
import { createApi } from './api.ts'
import { AskedWrongly, textAsked } from './asked.ts'
import { isOurs } from './authorize.ts'
import { createLive } from './live.ts'
import { createMasking } from './masking.ts'
import { type AdminOptions, resolveAdminOptions } from './options.ts'
import { livePage, storyPage } from './page.ts'
import { record } from './recorder.ts'
import { SCRIPT } from './script.ts'
import { type PageContext, sectionsOf } from './sections.ts'
import { ICON, STYLE } from './style.ts'
import { readView } from './view.ts'

const MOST_STORIES = 100
/** Whoever asks whether a node is ready does not wait long. */
const READY_WITHIN_MS = 3000

export interface Admin<Source> {
  /** Never rejects. */
  answer(request: AdminRequest<Source>): Promise<AdminAnswer>
  /** Ends the live streams and counts no more. */
  close(): void
}

export function createAdmin<Source>(options: AdminOptions<Source>): Admin<Source> {
  const { lock, authorize, readOnly, maskNumbers, refreshMs, metrics } = resolveAdminOptions(options)
  const { port } = requireEngine(lock)
  const version = readVersion()
  const masking = createMasking(maskNumbers)
  const recorder = record(lock)
  const view = () => readView(lock, masking)
  const api = createApi(lock, masking, view, version)
  const ownMetrics = metrics === undefined ? collectOwn() : undefined
  const lives = new Map<string, ReturnType<typeof createLive>>()
  let isClosed = false

  async function collectOwn(): Promise<Metrics | undefined> {
    try {
      return (await import('../metrics/prometheus.ts')).collectMetrics(lock)
    } catch {
      return undefined
    }
  }

  function contextAt(base: string): PageContext {
    return { base, readOnly, masked: maskNumbers, nodeId: lock.options.nodeId, recorder, counts: lock.counts }
  }

  /** Links stand in the parts, so there is one for each place where it is mounted. */
  function liveAt(base: string): ReturnType<typeof createLive> {
    const found = lives.get(base)
    if (found) return found
    const read = async () => sectionsOf(await view(), contextAt(base))
    const live = createLive(read, refreshMs, () => lives.delete(base))
    lives.set(base, live)
    return live
  }

  async function answer(request: AdminRequest<Source>): Promise<AdminAnswer> {
    try {
      const who = await whoAsks(request)
      return typeof who === 'string' ? await route(request, who) : who
    } catch (error) {
      if (error instanceof AskedWrongly) return problem(400, error.message)
      if (error instanceof StoreError) {
        return isPassing(error)
          ? problem(503, troubleWith(error), { 'retry-after': '5' })
          : problem(500, troubleWith(error))
      }
      lock.log.error({ node: lock.options.nodeId, err: error }, 'failed to answer a request of the admin')
      return problem(500, 'The admin failed; its log says why.')
    }
  }

  /** A name, or a refusal. */
  async function whoAsks({ source }: AdminRequest<Source>): Promise<string | AdminAnswer> {
    const said = await authorize(source)
    if (typeof said === 'string' && said !== '') return said
    if (said === true) return 'somebody'
    if (typeof said === 'object' && said !== null) {
      return problem(401, 'Say who you are.', { 'www-authenticate': said.challenge })
    }
    return problem(403, 'You may not look at this.')
  }

  async function route(request: AdminRequest<Source>, who: string): Promise<AdminAnswer> {
    const { method, path } = request
    const [, name = ''] = /^\/api\/(\w+)$/.exec(path) ?? []
    if (Object.hasOwn(api.changes, name)) return change(request, name, who)
    const read = Object.hasOwn(api.reads, name) ? api.reads[name] : undefined
    if (!read && path.startsWith('/api/')) return nothingHere()
    if (method !== 'GET' && method !== 'HEAD') return problem(405, `${method} is not for this.`, { allow: 'GET, HEAD' })
    if (read) return read({ query: request.query, body: {}, who })
    return show(request)
  }

  async function change(request: AdminRequest<Source>, name: string, who: string): Promise<AdminAnswer> {
    const change = api.changes[name]
    if (request.method !== 'POST' || !change) return problem(405, 'This is asked with POST.', { allow: 'POST' })
    if (readOnly) return problem(403, 'This admin is read-only.')
    if (!isOurs(request.header)) {
      return problem(403, 'Send it as application/json, from this page or from a program, not from another site.')
    }
    const body = await request.json()
    if (typeof body !== 'object' || body === null || Array.isArray(body)) {
      return problem(400, 'The body must be a JSON object.')
    }
    return change({ query: request.query, body: body as Record<string, unknown>, who })
  }

  async function show(request: AdminRequest<Source>): Promise<AdminAnswer> {
    const { path, base } = request
    switch (path) {
      case '/':
        return home(base)
      case '/show':
        return story(base, request.query)
      case '/events':
        return {
          status: 200,
          headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store, no-transform' },
          body: isClosed || request.method === 'HEAD' ? '' : (sink, ended) => liveAt(base).stream(sink, ended),
        }
      case '/page.css':
        return text('text/css; charset=utf-8', STYLE)
      case '/page.js':
        return text('text/javascript; charset=utf-8', SCRIPT)
      case '/icon.svg':
        return text('image/svg+xml', ICON)
      case '/metrics':
        return metricsPage()
      case '/health':
      case '/health/ready':
        return ready()
      case '/health/live':
        return json(200, { status: 'ok' })
      default:
        return nothingHere()
    }
  }

  async function home(base: string): Promise<AdminAnswer> {
    try {
      return livePage(contextAt(base), await heading(), sectionsOf(await view(), contextAt(base)), '')
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      return livePage(contextAt(base), { store: 'store down', version }, undefined, troubleWith(error))
    }
  }

  /** By a name, or by the handle of a session that is held. */
  async function story(base: string, query: URLSearchParams): Promise<AdminAnswer> {
    const handle = query.get('session')
    const name = textAsked(query, 'name')
    const [held] = handle === null ? [] : masking.named(await lock.sessions({ limit: LOOKED_THROUGH }), [handle])
    const wanted = held?.key ?? name
    const found = wanted ? await lock.find(wanted) : { sessions: [], messages: [] }
    const noName = handle === null ? 'No name was given' : 'This session is no longer held'
    return storyPage(contextAt(base), await heading(), held ? masking.session(held).name : name || noName, {
      sessions: found.sessions.map(masking.session),
      messages: found.messages.slice(0, MOST_STORIES).map(masking.message),
      left: Math.max(0, found.messages.length - MOST_STORIES),
    })
  }

  async function heading(): Promise<{ store: string; version: string }> {
    return { store: (await engineOf(lock)?.store())?.name ?? '', version }
  }

  async function metricsPage(): Promise<AdminAnswer> {
    if (metrics === false) return nothingHere()
    const found = metrics ?? (await ownMetrics)
    if (!found) return problem(501, 'Metrics need the package prom-client: npm install prom-client')
    return text(found.contentType, await found.text())
  }

  async function ready(): Promise<AdminAnswer> {
    let hasAnswered = false
    const asking = lock.sessions({ limit: 1 }).then(() => {
      hasAnswered = true
    })
    await within(port, READY_WITHIN_MS, asking)
    if (!hasAnswered) throw new StoreError('unreachable', `session-lock: not within ${READY_WITHIN_MS} ms`)
    return json(200, { status: 'ok' })
  }

  return {
    answer,
    close() {
      isClosed = true
      recorder.stop()
      void ownMetrics?.then((own) => own?.stop())
      for (const live of lives.values()) live.stop()
    },
  }
}

function nothingHere(): AdminAnswer {
  return problem(404, 'There is nothing here.')
}

/** Both src/admin and dist/admin are two levels below the package's own directory. */
function readVersion(): string {
  return JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version
}
