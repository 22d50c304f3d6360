/** The admin for Express, and for anything else that calls `(request, response, next)`. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createBodyReader } from '../http/body.ts'
import { createAdmin } from './admin.ts'
import type { AdminAnswer, Sink } from './answer.ts'
import type { AdminOptions } from './options.ts'

/** What Express adds to a request, as far as it is read here. */
type Mounted = IncomingMessage & { readonly baseUrl?: string; readonly originalUrl?: string }

/** An Express middleware; `close` ends the live streams, so that a server can close. */
export interface AdminRouter {
  (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void): void
  close(): void
}

/**
 * The admin as Express mounts it: the page at `/`, JSON under `/api`, `/metrics` and `/health`.
 *
 * @throws {@link OptionsError} naming the option that is missing (`authorize`), unknown or impossible.
 * @example
 * app.use('/locks', adminRouter({ lock, authorize: basicAuth({ ops: process.env.ADMIN_PASSWORD }) }))
 */
export function adminRouter<Source extends IncomingMessage = IncomingMessage>(
  options: AdminOptions<Source>,
): AdminRouter {
  const admin = createAdmin(options)
  const router = (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => {
    const { originalUrl, url = '/', baseUrl } = request as Mounted
    const [pathname, query] = partsOf(url)
    const [originalPath] = partsOf(originalUrl ?? url)
    const base = baseUrl ?? baseOf(originalPath, pathname)
    // Its links go below itself, so it needs the slash at its end; whoever may not look gets no redirection either.
    const isBare = pathname === '/' && base !== '' && originalPath === base
    void admin
      .answer({
        method: request.method ?? 'GET',
        path: pathname,
        query: new URLSearchParams(query),
        base,
        header: (name) => headerOf(request, name),
        json: () => readJson(request, response),
        source: request as Source,
      })
      .then((answer) =>
        isBare && answer.status === 200 ? redirect(response, `${base}/`) : send(request, response, answer),
      )
      .catch(next)
  }
  return Object.assign(router, { close: admin.close })
}

/** The path, and what is asked: there may be another `?` in that. */
function partsOf(url: string): [path: string, query: string] {
  const at = url.indexOf('?')
  return at < 0 ? [url, ''] : [url.slice(0, at), url.slice(at + 1)]
}

/** Where it is mounted by what strips the path, and does not say: Connect, middie. */
function baseOf(originalPath: string, path: string): string {
  if (originalPath.endsWith(path)) return originalPath.slice(0, -path.length)
  return path === '/' ? originalPath : ''
}

/** HTTP/2 has another name for the host. */
function headerOf({ headers }: IncomingMessage, name: string): string | undefined {
  return [headers[name] ?? (name === 'host' ? headers[':authority'] : undefined)].flat()[0]
}

const readBody = createBodyReader(256 * 1024)

/** What a parser before us has read, or what we read. */
async function readJson(request: IncomingMessage, response: ServerResponse): Promise<unknown> {
  const read = await readBody(request, response)
  return 'refusal' in read ? undefined : read.body
}

function redirect(response: ServerResponse, location: string): void {
  response.writeHead(302, { location, 'cache-control': 'no-store' }).end()
}

function send(request: IncomingMessage, response: ServerResponse, { status, headers, body }: AdminAnswer): void {
  if (isGone(response)) return
  response.writeHead(status, headers)
  if (typeof body === 'string') {
    response.end(request.method === 'HEAD' ? undefined : body)
    return
  }
  response.flushHeaders()
  const ended = new AbortController()
  let isFull = false
  response.on('close', () => ended.abort())
  response.on('error', () => ended.abort())
  response.on('drain', () => {
    isFull = false
  })
  const sink: Sink = {
    write(text) {
      isFull = !response.write(text)
    },
    isFull: () => isFull,
    // Who does not read would keep the server from closing.
    end: () => (isFull ? response.destroy() : response.end()),
  }
  body(sink, ended.signal)
}

/** It may have gone while it was asked who that is. */
function isGone(response: ServerResponse): boolean {
  // That of HTTP/2 only looks like Node's own, and does not say.
  const { stream } = response as { stream?: { readonly destroyed: boolean } }
  return response.destroyed || response.closed || stream?.destroyed === true
}
