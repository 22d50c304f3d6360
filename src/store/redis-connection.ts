/**
 * Connections of the Redis store: opened when first needed, replaced after a loss, and never waited for
 * longer than the store's time limit. Nothing is queued for a server that is down, and nothing is sent twice.
 */
import type { Redis, RedisOptions } from 'ioredis'
import { connectWithinMs, startLimit } from './limit.ts'
import type { RedisClient } from './redis-client.ts'
import { isAnswer, replyCode, toStoreError } from './redis-errors.ts'
import { StoreError } from './store.ts'

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
  /** What the client's owner has put before every key. */
  readonly keyPrefix: string
  /** Makes a client that is not connected yet. */
  create(options: ClientOptions): Redis
}

/** One connection. Calls may overlap on it. */
export interface Link {
  /** Settles within the time limit (the link's, unless given), with the work's value or with a {@link StoreError}. */
  run<Value>(work: (send: Send) => Promise<Value>, limitMs?: number): Promise<Value>
  /** Waits for what runs, and ends the connection. */
  close(): Promise<void>
}

/** Connections of our own, by URL. Throws a {@link StoreError} of kind `setup` for a missing driver. */
export async function urlSource(url: URL): Promise<Source> {
  const { Redis } = await import('ioredis').catch((cause) => {
    throw new StoreError('setup', 'session-lock: the Redis store needs the driver: npm install ioredis', { cause })
  })
  return {
    name: `${url.protocol}//${url.host}${url.pathname}`,
    keyPrefix: '',
    create: (options) => new Redis(url.href, options),
  }
}

/** Connections like the user's own. */
export function clientSource(client: RedisClient): Source {
  const { keyPrefix } = client.options as RedisOptions
  return {
    name: 'redis: (own client)',
    keyPrefix: keyPrefix ?? '',
    create: (options) => client.duplicate(options) as Redis,
  }
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
      const problem = `${source.name} did not answer within ${limitMs} ms`
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

  return { run, close }
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

/** Calls back with each text that is published on the channel. */
export function listenTo(source: Source, channel: string, heard: (text: string) => void): Listener {
  const client = source.create({
    ...OPTIONS,
    // Here waiting is right: whoever waits for a row asks again by himself meanwhile.
    enableOfflineQueue: true,
    maxRetriesPerRequest: null,
    // By ourselves below: a subscription that the driver repeats and that is refused would end the process.
    autoResubscribe: false,
    retryStrategy: (times) => RECONNECT_AFTER_MS[times - 1] ?? 2000,
    sentinelRetryStrategy: () => 1000,
  })
  client.on('error', () => {
    // Told by every other call.
  })
  client.on('message', (_channel: string, text: string) => heard(text))
  // Where the user may not listen, who waits asks again by himself.
  client.on('ready', () => {
    client.subscribe(channel).catch(() => undefined)
  })
  client.connect().catch(() => undefined)
  return { close: () => client.disconnect() }
}
