import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { createConnection } from 'mysql2/promise'
import { guardProcess, makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { findOrInstallMariadb, type MysqlPrograms } from './find-mariadb.ts'
import { freePort, hasEnded, type TestServer } from './server.ts'

const run = promisify(execFile)

const USER = 'bot'
/** With signs that a URL has to escape, as a generated password has. */
const PASSWORD = 'p@ss/w:rd'
const DATABASE = 'bot'
const READY_WITHIN_MS = 60_000

/** Makes the user and the database; for a server to run before it takes connections. */
export const INIT_SQL = ['127.0.0.1', 'localhost', '%']
  .flatMap((host) => [
    `CREATE USER IF NOT EXISTS '${USER}'@'${host}' IDENTIFIED BY '${PASSWORD}';`,
    `GRANT ALL PRIVILEGES ON *.* TO '${USER}'@'${host}' WITH GRANT OPTION;`,
  ])
  .concat(`CREATE DATABASE IF NOT EXISTS \`${DATABASE}\` CHARACTER SET utf8mb4;`, '')
  .join('\n')

/** One instance's programs and places. */
export interface Instance {
  readonly programs: MysqlPrograms
  readonly directory: string
  readonly dataDir: string
  readonly port: number
  readonly url: string
}

/** How an instance is started. */
export interface Start {
  /** More of its command line. */
  readonly args: readonly string[]
  /** Where it looks for programs; unset: as this process does. */
  readonly path?: string
  readonly readyWithinMs?: number
}

/**
 * Starts a MariaDB (or, where only that is installed, a MySQL) server with an empty database `bot` and a
 * user who may do everything, durability at the server's defaults. All test files share one, in
 * `process.env.TEST_MYSQL_URL`; start another where a test stops, kills or freezes it.
 *
 * @throws Error saying what to install where there is no server program, or what the server wrote
 * where it does not start.
 */
export async function startMariadb(): Promise<TestServer> {
  const instance = await newInstance('mariadb')
  const server = testServer(instance, async () => ({ args: [`--init-file=${writeInitFile(instance)}`] }))
  try {
    await createData(instance)
    await server.restart()
  } catch (error) {
    await server.stop()
    throw error
  }
  return server
}

/** Programs, a place and a port for one more server; nothing runs yet. */
export async function newInstance(name: string): Promise<Instance> {
  const programs = findOrInstallMariadb()
  const directory = makeTemporaryDirectory(name)
  const port = await freePort()
  const url = `mysql://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/${DATABASE}`
  return { programs, directory, dataDir: join(directory, 'data'), port, url }
}

/** The handle on an instance that is not started yet; each start asks how. */
export function testServer(instance: Instance, howToStart: () => Promise<Start>): TestServer {
  const { url, port, dataDir, directory } = instance
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
    server = await startServer(instance, await howToStart())
  }

  async function stop(): Promise<void> {
    await kill()
    await removeTemporaryDirectory(directory)
  }

  const pid = () => (server && !hasEnded(server) ? server.pid : undefined)
  return { url, port, dataDir, pid, kill, restart, stop }
}

function writeInitFile({ directory }: Instance): string {
  const file = join(directory, 'init.sql')
  writeFileSync(file, INIT_SQL)
  return file
}

/** An empty data directory. */
export async function createData({ programs, directory, dataDir }: Instance): Promise<void> {
  if (programs.installDb) {
    // Two of these at once would meet in the system's temporary directory.
    const places = [`--datadir=${dataDir}`, `--tmpdir=${directory}`]
    const args = ['--no-defaults', '--auth-root-authentication-method=normal', ...places]
    await run(programs.installDb, [...args, ...asRoot()])
  } else await run(programs.server, ['--no-defaults', '--initialize-insecure', `--datadir=${dataDir}`, ...asRoot()])
}

async function startServer(
  instance: Instance,
  { args, path, readyWithinMs = READY_WITHIN_MS }: Start,
): Promise<ChildProcess> {
  const { programs, directory } = instance
  const logFile = join(directory, 'server.log')
  const log = openSync(logFile, 'a')
  // Detached, so that Ctrl-C does not reach it before the tests that use it.
  const server = spawn(programs.server, [...commandLine(instance), ...args], {
    detached: true,
    stdio: ['ignore', log, log],
    env: { ...process.env, ...(path !== undefined && { PATH: path }) },
  })
  closeSync(log)
  guardProcess(server)
  server.unref()
  const problem = await untilReady(server, instance.url, readyWithinMs)
  if (problem === undefined) return server
  server.kill('SIGKILL')
  const wrote = readFileSync(logFile, 'utf8').split('\n').slice(-30).join('\n')
  throw new Error(`${programs.server} did not start: ${problem}. It wrote:\n${wrote}`)
}

/** What every start of an instance has in common. */
export function commandLine({ programs, directory, dataDir, port }: Instance): string[] {
  return [
    '--no-defaults',
    `--datadir=${dataDir}`,
    `--port=${port}`,
    '--bind-address=127.0.0.1',
    `--socket=${join(directory, 'socket')}`,
    `--pid-file=${join(directory, 'pid')}`,
    ...(programs.kind === 'mysql' ? ['--mysqlx=OFF'] : []),
    ...asRoot(),
  ]
}

/** Undefined once the server answers, else what is wrong. */
async function untilReady(server: ChildProcess, url: string, withinMs: number): Promise<string | undefined> {
  let problem: string | undefined
  server.once('error', (error) => {
    problem = error.message
  })
  const deadline = performance.now() + withinMs
  while (performance.now() < deadline) {
    if (problem !== undefined) return problem
    if (hasEnded(server)) return `it ended (${server.signalCode ?? server.exitCode})`
    try {
      const connection = await createConnection({ uri: url, connectTimeout: 5_000 })
      await connection.query('SELECT 1')
      await connection.end()
      return undefined
    } catch (error) {
      if (performance.now() >= deadline) return String(error)
    }
    await sleep(50)
  }
  return `no answer within ${withinMs} ms`
}

/** The server refuses to run as root unless told to. */
function asRoot(): string[] {
  return process.getuid?.() === 0 ? ['--user=root'] : []
}
