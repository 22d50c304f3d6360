/**
 * Connections of the Postgres store: opened when first needed, replaced after a loss, used by one call at a
 * time, and never waited for longer than the store's time limit. Nothing is set on them and nothing prepared,
 * so that a pooler may give each call another connection of its own.
 */

import { startLimit } from './limit.ts'
import { isAnswer, toStoreError } from './postgres-errors.ts'
import { arrayText } from './postgres-values.ts'
import { StoreError } from './store.ts'
import { makeOfUrl, readStoreUrl } from './store-url.ts'

/** What is used of a client of `pg`. */
export interface PostgresClient {
  query(config: object): Promise<{ rows: unknown[] }>
  on(event: string, listener: (argument: never) => void): unknown
}

/** A client that was borrowed of a pool. */
export interface PostgresPoolClient extends PostgresClient {
  release(destroy?: boolean): void
}

/** The user's own pool of `pg`. */
export interface PostgresPool {
  readonly totalCount: number
  connect(): Promise<PostgresPoolClient>
}

/** A row as it came over the wire: text, NULL is null. */
export type Row = ReadonlyArray<string | null>

/** One statement; `$1` stands for a value. */
export interface Statement {
  readonly sql: string
  readonly values?: readonly unknown[]
}

/** Runs one statement. */
export type Query = (statement: Statement) => Promise<readonly Row[]>

/** A connection, and how to be rid of it. */
export interface Opened {
  readonly client: PostgresClient
  /** A polite end. */
  end(): Promise<void>
  /** An end at once, whatever the server does. */
  cut(): void
}

/** Where connections come from. */
export interface Source {
  /** For logs and errors, without user and password. */
  readonly name: string
  /** How many connections it must have to give, where that is its owner's to choose. */
  readonly needs?: string
  connect(timeoutMs: number): Promise<Opened>
}

/** Connections of our own, by URL. Throws a {@link StoreError} of kind `setup` for a wrong URL or a missing driver. */
export async function urlSource(url: string): Promise<Source> {
  const name = readName(url)
  const { Client } = await importDriver()
  return {
    name,
    async connect(connectionTimeoutMillis) {
      const settings = { connectionString: url, connectionTimeoutMillis, keepAlive: true }
      return openClient(makeOfUrl(name, () => new Client(settings)))
    },
  }
}

/** A client that nobody has connected yet. */
export interface NewClient extends PostgresClient {
  connect(): Promise<unknown>
  end(): Promise<void>
}

/** Connects it. */
export async function openClient(client: NewClient): Promise<Opened> {
  // Without a listener, a connection that is lost would end the process.
  client.on('error', () => undefined)
  const cut = () => cutStream(client)
  await client.connect().catch((error: unknown) => {
    cut()
    throw error
  })
  return { client, end: () => client.end(), cut }
}

/** Connections out of the user's pool. */
export function poolSource(pool: PostgresPool): Source {
  return {
    name: 'postgres: (own pool)',
    needs:
      'of a pool, session-lock needs two, one more for listening, one for an inbox, and one while it makes its tables',
    async connect() {
      const client = await pool.connect()
      client.on('error', () => undefined)
      let isOut = true
      // Never back among the others, and never twice.
      const leave = () => {
        if (isOut) client.release(true)
        isOut = false
      }
      return {
        client,
        end: async () => leave(),
        cut() {
          leave()
          cutStream(client)
        },
      }
    },
  }
}

async function importDriver() {
  try {
    return (await import('pg')).default
  } catch (cause) {
    throw new StoreError('setup', 'session-lock: the Postgres store needs the driver: npm install pg', { cause })
  }
}

function readName(url: string): string {
  const problem = "session-lock: the Postgres store's URL must be like postgres://user:password@host:5432/database"
  const { protocol, hostname, port, pathname, searchParams } = readStoreUrl(url, problem)
  // The driver goes by this one: a directory where the server's socket is, for instance.
  const host = searchParams.get('host') ?? hostname
  if (protocol !== 'postgres:' && protocol !== 'postgresql:') {
    throw new StoreError('setup', `${problem}, or postgresql://…, not ${protocol}//…`)
  }
  if (host === '') throw new StoreError('setup', `${problem}; it names no host`)
  if (pathname.length < 2) throw new StoreError('setup', `${problem}; it names no database`)
  return `postgres://${host}:${port || 5432}${pathname}`
}

/** The driver's own end says goodbye and waits, and a server that is stuck never answers that. */
export function cutStream(client: unknown): void {
  const { connection } = client as { connection?: { stream?: { destroy?: () => void } } }
  connection?.stream?.destroy?.()
}

/** One connection, used by one call at a time. */
export interface Link {
  /**
   * Does the work when the calls before it are done, and settles within the time limit: with the work's value,
   * or with a {@link StoreError}. Each statement is a transaction of its own, unless the work says BEGIN.
   */
  call<Value>(work: (query: Query) => Promise<Value>): Promise<Value>
  /** Waits for what runs, and ends the connection. */
  close(): Promise<void>
}

/** How long things may take. */
export interface Limits {
  /** A call as a whole, waiting for its turn and connecting included. */
  readonly callMs: number
  readonly connectMs: number
}

/** How far a call has come when its time is over. */
interface Call {
  phase: 'waiting' | 'connecting' | 'asking'
  over: boolean
}

/** Makes a link. It connects when it is first used. */
export function createLink(source: Source, limits: Limits): Link {
  let opened: Opened | undefined
  let opening: Promise<Opened> | undefined
  let tail: Promise<unknown> = Promise.resolve()
  let closed = false

  function discard(): void {
    opened?.cut()
    opened = undefined
  }

  async function open(): Promise<Opened> {
    const fresh = await source.connect(limits.connectMs)
    fresh.client.on('end', () => {
      if (opened === fresh) discard()
    })
    if (closed) {
      fresh.cut()
      throw new StoreError('unreachable', 'session-lock: the store was closed while it connected')
    }
    opened = fresh
    return fresh
  }

  /** One attempt at a time, also when those who waited for it have given up: the next one uses its outcome. */
  function connected(): Promise<Opened> {
    opening ??= open().finally(() => {
      opening = undefined
    })
    return opening
  }

  async function attempt<Value>(call: Call, work: (query: Query) => Promise<Value>): Promise<Value> {
    try {
      call.phase = 'connecting'
      const { client } = opened ?? (await connected())
      if (call.over) throw new StoreError('unreachable', 'session-lock: given up while connecting')
      call.phase = 'asking'
      return await work((statement) => send(client, statement))
    } catch (error) {
      if (!call.over && !isAnswer(error)) discard()
      throw toStoreError(error, source.name, call.phase === 'asking')
    }
  }

  async function call<Value>(work: (query: Query) => Promise<Value>): Promise<Value> {
    if (closed) throw new StoreError('unreachable', `session-lock: the store ${source.name} is closed`)
    const state: Call = { phase: 'waiting', over: false }
    const limit = startLimit(limits.callMs, () => {
      state.over = true
      if (state.phase === 'asking') discard()
      return timedOut(source, limits.callMs, state.phase)
    })
    const turn = tail.then(() => (state.over ? limit.passed : Promise.race([limit.passed, attempt(state, work)])))
    tail = turn.catch(() => undefined)
    try {
      return await Promise.race([limit.passed, turn])
    } finally {
      limit.stop()
    }
  }

  async function close(): Promise<void> {
    closed = true
    await tail
    const left = opened
    opened = undefined
    if (!left) return
    const limit = startLimit(limits.connectMs, () => timedOut(source, limits.connectMs, 'asking'))
    await Promise.race([limit.passed, left.end()]).catch(() => left.cut())
    limit.stop()
  }

  return { call, close }
}

/** As text, whatever parsers the user has set for all of the process. */
const AS_TEXT = { getTypeParser: () => (value: unknown) => value }

export async function send(client: PostgresClient, { sql, values = [] }: Statement): Promise<readonly Row[]> {
  const texts = values.map((value) => (Array.isArray(value) ? arrayText(value) : value))
  const { rows } = await client.query({ text: sql, values: texts, rowMode: 'array', types: AS_TEXT })
  return rows as Row[]
}

function timedOut(source: Source, timeoutMs: number, phase: Call['phase']): StoreError {
  const what = {
    waiting: 'the calls before it took that long',
    connecting: `no connection was to be had${source.needs ? ` (${source.needs})` : ''}`,
    asking: 'whether the last call was written is not known',
  }[phase]
  return new StoreError('unreachable', `session-lock: no answer from ${source.name} within ${timeoutMs} ms: ${what}`, {
    answerLost: phase === 'asking',
  })
}
