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

/** Run by the server before it takes connections, at every start. */
const INIT_SQL = ['127.0.0.1', 'localhost', '%']
  .flatMap((host) => [
    `CREATE USER IF NOT EXISTS '${USER}'@'${host}' IDENTIFIED BY '${PASSWORD}';`,
    `GRANT ALL PRIVILEGES ON *.* TO '${USER}'@'${host}';`,
  ])
  .concat(`CREATE DATABASE IF NOT EXISTS \`${DATABASE}\` CHARACTER SET utf8mb4;`, '')
  .join('\n')

/** One instance's programs and places. */
interface Instance {
  readonly programs: MysqlPrograms
  readonly directory: string
  readonly dataDir: string
  readonly port: number
  readonly url: string
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
  const programs = findOrInstallMariadb()
  const directory = makeTemporaryDirectory('mariadb')
  const port = await freePort()
  const url = `mysql://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/${DATABASE}`
  const instance: Instance = { programs, directory, dataDir: join(directory, 'data'), port, url }
  let server: ChildProcess | undefined

  async function kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (!server || hasEnded(server)) return
    const ended = once(server, 'exit')
    server.kill(signal)
    if (signal === 'SIGKILL' || signal === 'SIGTERM') await ended
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
    await createData(instance)
    await restart()
  } catch (error) {
    await stop()
    throw error
  }
  return { url, port, dataDir: instance.dataDir, pid, kill, restart, stop }
}

async function createData({ programs, directory, dataDir }: Instance): Promise<void> {
  writeFileSync(join(directory, 'init.sql'), INIT_SQL)
  if (programs.installDb) {
    // Two of these at once would meet in the system's temporary directory.
    const places = [`--datadir=${dataDir}`, `--tmpdir=${directory}`]
    const args = ['--no-defaults', '--auth-root-authentication-method=normal', ...places]
    await run(programs.installDb, [...args, ...asRoot()])
  } else await run(programs.server, ['--no-defaults', '--initialize-insecure', `--datadir=${dataDir}`, ...asRoot()])
}

async function startServer(instance: Instance): Promise<ChildProcess> {
  const { programs, directory, dataDir, port } = instance
  const logFile = join(directory, 'server.log')
  const log = openSync(logFile, 'a')
  const args = [
    '--no-defaults',
    `--datadir=${dataDir}`,
    `--port=${port}`,
    '--bind-address=127.0.0.1',
    `--socket=${join(directory, 'socket')}`,
    `--pid-file=${join(directory, 'pid')}`,
    `--init-file=${join(directory, 'init.sql')}`,
    ...(programs.kind === 'mysql' ? ['--mysqlx=OFF'] : []),
    ...asRoot(),
  ]
  // Detached, so that Ctrl-C does not reach it before the tests that use it.
  const server = spawn(programs.server, args, { detached: true, stdio: ['ignore', log, log] })
  closeSync(log)
  guardProcess(server)
  server.unref()
  const problem = await untilReady(server, instance.url)
  if (problem === undefined) return server
  server.kill('SIGKILL')
  const wrote = readFileSync(logFile, 'utf8').split('\n').slice(-30).join('\n')
  throw new Error(`${programs.server} did not start: ${problem}. It wrote:\n${wrote}`)
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
  return `no answer within ${READY_WITHIN_MS} ms`
}

/** The server refuses to run as root unless told to. */
function asRoot(): string[] {
  return process.getuid?.() === 0 ? ['--user=root'] : []
}
