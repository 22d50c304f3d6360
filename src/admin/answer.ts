/** What goes in and out of the admin, whatever the framework. */
import { reasonOf, StoreError } from '../store/store.ts'

/** A request, as far as the admin reads it. */
export interface AdminRequest<Source> {
  readonly method: string
  /** Below where the admin is mounted: `/`, `/api/stats`. */
  readonly path: string
  readonly query: URLSearchParams
  /** Where the admin is mounted, without a slash at its end: `/locks`, or ``. */
  readonly base: string
  header(name: string): string | undefined
  /** The parsed body; undefined where there is none that can be read. */
  json(): Promise<unknown>
  /** The framework's own. */
  readonly source: Source
}

/** An answer, or a stream of text that goes on until `ended` aborts. */
export interface AdminAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | ((sink: Sink, ended: AbortSignal) => void)
}

/** Where a stream goes. */
export interface Sink {
  write(text: string): void
  /** Does what was written before still wait to be read? More would only pile up. */
  isFull(): boolean
  /** May be called again, and when nobody is there any more. */
  end(): void
}

/** What is wrong with the store, for people. */
export function troubleWith(error: unknown): string {
  return isPassing(error)
    ? `The store does not answer: ${reasonOf(error)}`
    : `The store refuses this: ${reasonOf(error)}`
}

/** Is it worth asking the store again? */
export function isPassing(error: unknown): boolean {
  return !(error instanceof StoreError && (error.kind === 'data' || error.kind === 'setup'))
}

const HEADERS = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }

export function json(status: number, value: unknown, headers: Readonly<Record<string, string>> = {}): AdminAnswer {
  const body = JSON.stringify(value)
  return { status, headers: { ...HEADERS, 'content-type': 'application/json; charset=utf-8', ...headers }, body }
}

/** Of RFC 9457. */
export function problem(status: number, detail: string, headers: Readonly<Record<string, string>> = {}): AdminAnswer {
  return json(
    status,
    { type: 'about:blank', status, detail },
    { 'content-type': 'application/problem+json', ...headers },
  )
}

export function text(contentType: string, body: string, headers: Readonly<Record<string, string>> = {}): AdminAnswer {
  return { status: 200, headers: { ...HEADERS, 'content-type': contentType, ...headers }, body }
}
