/**
 * Connections of the Redis store: opened when first needed, replaced after a loss, and never waited for
 * longer than the store's time limit. Nothing is queued for a server that is down, and nothing is sent twice.
 */
import type { ClusterNode, ClusterOptions, NatMap, Redis, RedisOptions } from 'ioredis'
import { connectWithinMs, startLimit } from './limit.ts'
import type { RedisClient } from './redis-client.ts'
import { isAnswer, replyCode, toStoreError } from './redis-errors.ts'
import { StoreError } from './store.ts'
import { makeOfUrl } from './store-url.ts'

/** What may be sent as an argument of a command. */
export type Argument = string | number | Buffer

/** Sends one command; texts in its answer are bytes. */
export type Send = (command: string, args: readonly Argument[]) => Promise<unknown>

/** What a client is made with; how replies look is not ours to choose twice. */
type ClientOptions = Omit<RedisOptions, 'replyMapping'>

/** Where connections come from. */
export interface Source {
  /** For logs and errors, without user and password. */
  readonly name: string
  /** Undefined where the client finds it out. */
  readonly host: string | undefined
  /** What the client's owner has put before every key. */
  readonly keyPrefix: string
  /** Makes a client that is not connected yet. */
  create(options: ClientOptions): Redis
  /** The same for another node of its cluster. */
  at(host: string, port: number): Source
}

/** One connection. Calls may overlap on it. */
export interface Link {
  /** Settles within the time limit (the link's, unless given), with the work's value or with a {@link StoreError}. */
  run<Value>(work: (send: Send) => Promise<Value>, limitMs?: number): Promise<Value>
  /** Is it connected? */
  isOpen(): boolean
  /** Waits for what runs, and ends the connection. */
  close(): Promise<void>
}

/** Connections of our own, by URL. Throws a {@link StoreError} of kind `setup` for a missing driver, or a URL that it cannot use. */
export async function urlSource(url: URL): Promise<Source> {
  const Driver = await loadDriver()
  const name = `${url.protocol}//${url.host}${url.pathname}`
  return sourceLike(
    makeOfUrl(name, () => new Driver(url.href, { lazyConnect: true })),
    name,
  )
}

/** Connections like the user's own. */
export function clientSource(client: RedisClient): Source {
  return sourceLike(client, 'redis: (own client)')
}

/** The nodes that a client of a cluster starts from. Of its options those of its connections and `natMap` are used. */
export async function clusterSources(cluster: RedisClient): Promise<Source[]> {
  const Driver = await loadDriver()
  const { redisOptions = {}, keyPrefix = '', natMap } = cluster.options as ClusterOptions
  // What the driver keeps them under, and its own `duplicate` reads.
  const { startupNodes } = cluster as unknown as { startupNodes: readonly ClusterNode[] }
  return startupNodes.map((node) => {
    const connection: ClientOptions = { ...(redisOptions as ClientOptions), keyPrefix, lazyConnect: true }
    const like =
      typeof node === 'object'
        ? new Driver({ ...connection, ...(node as ClientOptions) })
        : new Driver(node as string, connection)
    return sourceLike(like, 'redis: (own cluster)', {}, natMap)
  })
}

/** Throws a {@link StoreError} of kind `setup` where it is missing. */
async function loadDriver(): Promise<typeof Redis> {
  const driver = await import('ioredis').catch((cause) => {
    throw new StoreError('setup', 'session-lock: the Redis store needs the driver: npm install ioredis', { cause })
  })
  return driver.Redis
}

function sourceLike(
  like: Pick<RedisClient, 'duplicate' | 'options'>,
  name: string,
  where: { readonly host?: string; readonly port?: number } = {},
  natMap?: NatMap,
): Source {
  const options = like.options as RedisOptions
  return {
    name,
    host: where.host ?? options.host,
    keyPrefix: options.keyPrefix ?? '',
    create: (changes) => like.duplicate({ ...changes, ...where }) as Redis,
    at(host, port) {
      const key = `${host}:${port}`
      const mapped = typeof natMap === 'function' ? natMap(key) : natMap?.[key]
      return sourceLike(like, nodeName(host, port), mapped ?? { host, port }, natMap)
    },
  }
}

/** A node of a cluster, for logs and errors. */
function nodeName(host: string, port: number): string {
  return `redis://${host.includes(':') ? `[${host}]` : host}:${port}`
}

/** Whatever the user's client does otherwise. */
const OPTIONS: ClientOptions = {
  lazyConnect: true,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  retryStrategy: () => null,
  sentinelRetryStrategy: () => null,
  reconnectOnError: null,
  enableReadyCheck: true,
  enableAutoPipelining: false,
  keyPrefix: '',
  monitor: false,
  readOnly: false,
  stringNumbers: false,
  protocol: 2,
}

/** Makes a link. It connects when it is first used. */
export function createLink(source: Source, timeoutMs: number): Link {
  const underWay = new Set<Promise<unknown>>()
  let connection: Redis | undefined
  let opening: Promise<Redis> | undefined
  let closed = false

  function discard(): void {
    connection?.disconnect()
    connection = undefined
  }

  async function open(limitMs: number): Promise<Redis> {
    const opened = source.create({ ...OPTIONS, connectTimeout: connectWithinMs(limitMs) })
    opened.on('close', () => {
      if (connection === opened) connection = undefined
    })
    await connect(opened, connectWithinMs(limitMs))
    if (closed) {
      opened.disconnect()
      throw new StoreError('unreachable', 'session-lock: the store was closed while it connected')
    }
    connection = opened
    return opened
  }

  /** One attempt at a time, also when those who waited for it have given up: the next one uses its outcome. */
  function connected(limitMs: number): Promise<Redis> {
    opening ??= open(limitMs).finally(() => {
      opening = undefined
    })
    return opening
  }

  async function attempt<Value>(call: Call, work: (send: Send) => Promise<Value>): Promise<Value> {
    try {
      const used = connection ?? (await connected(call.limitMs))
      if (call.over) throw new StoreError('unreachable', 'session-lock: given up while connecting')
      return await work((command, args) => {
        call.sent = true
        return used.callBuffer(command, [...args])
      })
    } catch (error) {
      // What was the master is one no longer: the next connection finds out who is.
      if (replyCode(error) === 'READONLY') discard()
      throw toStoreError(error, source.name, call.sent)
    }
  }

  async function run<Value>(work: (send: Send) => Promise<Value>, limitMs = timeoutMs): Promise<Value> {
    if (closed) throw new StoreError('unreachable', `session-lock: the store ${source.name} is closed`)
    const call: Call = { limitMs, sent: false, over: false }
    const limit = startLimit(limitMs, () => {
      call.over = true
      if (call.sent) discard()
      const problem = `${source.name} did not answer within ${Math.round(limitMs)} ms`
      return new StoreError('unreachable', `session-lock: ${problem}`, { answerLost: call.sent })
    })
    const answer = Promise.race([limit.passed, attempt(call, work)])
    underWay.add(answer)
    try {
      return await answer
    } finally {
      limit.stop()
      underWay.delete(answer)
    }
  }

  async function close(): Promise<void> {
    closed = true
    await Promise.allSettled(underWay)
    discard()
  }

  return { run, isOpen: () => connection !== undefined, close }
}

/** How far a call has come when its time is over. */
interface Call {
  readonly limitMs: number
  sent: boolean
  over: boolean
}

/** The driver's promise says only that the connection is closed; why, it tells by an event before. */
async function connect(client: Redis, timeoutMs: number): Promise<void> {
  let reason: unknown
  client.on('error', (error: Error) => {
    reason ??= error
  })
  const limit = startLimit(timeoutMs, () => new Error(`no connection within ${timeoutMs} ms`))
  try {
    await Promise.race([limit.passed, client.connect()])
    // It connects all the same where the server refused to SELECT the database, and would write into the first one.
    if (isAnswer(reason)) throw reason
  } catch (error) {
    client.disconnect()
    throw isAnswer(error) ? error : (reason ?? error)
  } finally {
    limit.stop()
  }
}

/** A connection that only listens. It connects again by itself, for as long as it is open. */
export interface Listener {
  close(): void
}

const RECONNECT_AFTER_MS = [50, 200, 1000]

/**
 * Calls back with each text that is published on these channels.
 *
 * @param choose where to listen; asked before each connection.
 */
export function listenTo(choose: () => Source, channels: readonly string[], heard: (text: string) => void): Listener {
  let client: Redis | undefined
  let timer: NodeJS.Timeout | undefined
  let tries = 0
  let closed = false

  function again(): void {
    if (closed) return
    timer = setTimeout(start, RECONNECT_AFTER_MS[tries] ?? 2000)
    timer.unref()
    tries += 1
  }

  function start(): void {
    const opened = choose().create({ ...OPTIONS, enableOfflineQueue: true })
    client = opened
    opened.on('error', () => {
      // Told by every other call.
    })
    opened.on('message', (_channel: string, text: string) => heard(text))
    opened.on('end', again)
    opened.subscribe(...channels).then(
      () => {
        tries = 0
      },
      // Where the user may not listen, who waits asks again by himself.
      () => undefined,
    )
  }

  start()
  return {
    close() {
      closed = true
      clearTimeout(timer)
      client?.disconnect()
    },
  }
}
