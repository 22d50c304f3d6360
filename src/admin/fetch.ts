/** The admin for frameworks that take a Request and give a Response: Hono, Next.js, Bun, workers. */

import { OptionsError } from '../engine/errors.ts'
import { createAdmin } from './admin.ts'
import type { AdminAnswer, Sink } from './answer.ts'
import type { AdminOptions } from './options.ts'

/** Options of {@link adminFetch}. */
export interface AdminFetchOptions extends AdminOptions<Request> {
  /** Where it is mounted: `/locks`. Default: at the root. */
  readonly basePath?: string | undefined
}

/** A fetch handler; `close` ends the live streams. */
export interface AdminFetch {
  (request: Request): Promise<Response>
  close(): void
}

/**
 * The admin as a fetch handler.
 *
 * @throws {@link OptionsError} naming the option that is missing (`authorize`), unknown or impossible.
 * @example
 * const admin = adminFetch({ lock, basePath: '/locks', authorize: basicAuth({ ops: process.env.ADMIN_PASSWORD }) })
 * app.all('/locks/*', (context) => admin(context.req.raw))
 */
export function adminFetch(options: AdminFetchOptions): AdminFetch {
  const { basePath = '', ...others } = options ?? {}
  if (!/^(\/[\w.~-]+)*$/.test(basePath)) {
    throw new OptionsError('basePath', 'takes a path like /locks, without a slash at its end')
  }
  const admin = createAdmin(others)
  const handle = async (request: Request): Promise<Response> => {
    const { pathname, searchParams } = new URL(request.url)
    const isBelow = pathname === basePath || pathname.startsWith(`${basePath}/`)
    const answer = await admin.answer({
      method: request.method,
      path: isBelow ? pathname.slice(basePath.length) || '/' : pathname,
      query: searchParams,
      base: basePath,
      header: (name) => request.headers.get(name) ?? undefined,
      json: () => request.json().catch(() => undefined),
      source: request,
    })
    return responseOf(answer, request)
  }
  return Object.assign(handle, { close: admin.close })
}

function responseOf({ status, headers, body }: AdminAnswer, request: Request): Response {
  if (typeof body === 'string') return new Response(request.method === 'HEAD' ? null : body, { status, headers })
  // Whoever asked may have gone while it was asked who that is.
  if (request.signal.aborted) return new Response(null, { status, headers })
  const ended = new AbortController()
  request.signal.addEventListener('abort', () => ended.abort())
  const encoder = new TextEncoder()
  let isOpen = true
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      const sink: Sink = {
        write(text) {
          if (isOpen) controller.enqueue(encoder.encode(text))
        },
        isFull: () => (controller.desiredSize ?? 0) <= 0,
        end() {
          if (isOpen) controller.close()
          isOpen = false
        },
      }
      body(sink, ended.signal)
    },
    cancel() {
      isOpen = false
      ended.abort()
    },
  })
  return new Response(stream, { status, headers })
}
