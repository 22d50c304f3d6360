import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { guardProcess, makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { findOrInstallRedis } from './find-redis.ts'
import { freePort, hasEnded, type TestServer } from './server.ts'

/** With signs that a URL has to escape, as a generated password has. */
const PASSWORD = 'p@ss/w:rd'
const READY_WITHIN_MS = 20_000

/** One instance's places. */
interface Instance {
  readonly program: string
  readonly directory: string
  readonly dataDir: string
  readonly port: number
  readonly url: string
  readonly settings: readonly string[]
}

/**
 * Starts a Redis (or, where only that is installed, a Valkey) server that writes down every second what it was
 * told (`appendonly yes`). All test files share one, in `process.env.TEST_REDIS_URL`; start another where a test
 * stops, kills or freezes it.
 *
 * @param settings - more of its command line: `['--maxmemory', '4mb']`.
 * @throws Error saying what to install where there is no server program, or what the server wrote
 * where it does not start.
 */
export async function startRedis(settings: readonly string[] = []): Promise<TestServer> {
  const program = findOrInstallRedis()
  const directory = makeTemporaryDirectory('redis')
  const dataDir = join(directory, 'data')
  mkdirSync(dataDir)
  const port = await freePort()
  const url = `redis://:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/0`
  const instance: Instance = { program, directory, dataDir, port, url, settings }
  let server: ChildProcess | undefined

  async function kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (!server || hasEnded(server)) return
    const ends = signal === 'SIGKILL' || signal === 'SIGTERM'
    const ended = ends ? once(server, 'exit') : undefined
    server.kill(signal)
    await ended
  }

  async function restart(): Promise<void> {
    await kill()
    server = await startServer(instance)
  }

  async function stop(): Promise<void> {
    await kill()
    await removeTemporaryDirectory(directory)
  }

  const pid = () => (server && !hasEnded(server) ? server.pid : undefined)
  try {
    await restart()
  } catch (error) {
    await stop()
    throw error
  }
  return { url, port, dataDir, pid, kill, restart, stop }
}

async function startServer({ program, directory, dataDir, port, url, settings }: Instance): Promise<ChildProcess> {
  const logFile = join(directory, 'server.log')
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--dir', dataDir, '--daemonize', 'no']
  args.push('--appendonly', 'yes', '--save', '', '--requirepass', PASSWORD, '--masterauth', PASSWORD)
  // A new replica is served at once, not with others that might come within five seconds.
  args.push('--repl-diskless-sync-delay', '0', ...settings)
  return spawnServer({ program, args, logFile, url })
}

/**
 * Starts a Sentinel that watches a master as `bot`, and after half a second without an answer puts a replica in
 * its place.
 */
export async function startSentinel(
  master: TestServer,
): Promise<{ port: number; password: string; stop: () => Promise<void> }> {
  const program = findOrInstallRedis()
  const directory = makeTemporaryDirectory('sentinel')
  const port = await freePort()
  const configuration = join(directory, 'sentinel.conf')
  const lines = [
    `port ${port}`,
    'bind 127.0.0.1',
    `dir ${directory}`,
    `sentinel monitor bot 127.0.0.1 ${master.port} 1`,
  ]
  lines.push(`sentinel auth-pass bot ${PASSWORD}`, 'sentinel down-after-milliseconds bot 500')
  writeFileSync(configuration, [...lines, 'sentinel failover-timeout bot 3000', ''].join('\n'))
  const logFile = join(directory, 'server.log')
  const url = `redis://127.0.0.1:${port}`
  const sentinel = await spawnServer({ program, args: [configuration, '--sentinel'], logFile, url })
  return {
    port,
    password: PASSWORD,
    async stop() {
      const ended = once(sentinel, 'exit')
      if (!hasEnded(sentinel) && sentinel.kill('SIGKILL')) await ended
      await removeTemporaryDirectory(directory)
    },
  }
}

interface Program {
  readonly program: string
  readonly args: readonly string[]
  readonly logFile: string
  readonly url: string
}

async function spawnServer({ program, args, logFile, url }: Program): Promise<ChildProcess> {
  const log = openSync(logFile, 'a')
  // Detached, so that Ctrl-C does not reach it before the tests that use it. Named, for its program may be
  // installed under another name alone.
  const server = spawn(program, args, { argv0: 'redis-server', detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  guardProcess(server)
  server.unref()
  const problem = await untilReady(server, url)
  if (problem === undefined) return server
  server.kill('SIGKILL')
  const wrote = readFileSync(logFile, 'utf8').split('\n').slice(-30).join('\n')
  throw new Error(`${program} did not start: ${problem}. It wrote:\n${wrote}`)
}

/** Undefined once the server answers, else what is wrong. */
async function untilReady(server: ChildProcess, url: string): Promise<string | undefined> {
  let problem: string | undefined
  server.once('error', (error) => {
    problem = error.message
  })
  const deadline = performance.now() + READY_WITHIN_MS
  while (performance.now() < deadline) {
    if (problem !== undefined) return problem
    if (hasEnded(server)) return `it ended (${server.signalCode ?? server.exitCode})`
    const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null })
    client.on('error', () => {
      // Not up yet.
    })
    const isUp = await client.connect().then(
      () => true,
      () => false,
    )
    client.disconnect()
    if (isUp) return undefined
    await sleep(20)
  }
  return `no answer within ${READY_WITHIN_MS} ms`
}
