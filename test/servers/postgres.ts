import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, closeSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { guardProcess, makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { findOrInstallPostgres, type PostgresPrograms } from './find-postgres.ts'
import { freePort, hasEnded, type TestServer } from './server.ts'

const run = promisify(execFile)

const USER = 'bot'
/** With signs that a URL has to escape, as a generated password has. */
const PASSWORD = 'p@ss/w:rd'
const DATABASE = 'bot'
const READY_WITHIN_MS = 60_000

/** One instance's programs and places. */
interface Instance {
  readonly programs: PostgresPrograms
  readonly directory: string
  readonly dataDir: string
  readonly port: number
  /** Whom it runs as: it refuses to run as root. */
  readonly runAs: { readonly uid?: number; readonly gid?: number }
}

/**
 * Starts a Postgres server with an empty database `bot` and a user who may do everything, durability at the
 * server's defaults. All test files share one, in `process.env.TEST_POSTGRES_URL`; start another where a test
 * stops, kills or freezes it.
 *
 * @throws Error saying what to install where there is no server program, or what the server wrote
 * where it does not start.
 */
export async function startPostgres(): Promise<TestServer> {
  const programs = findOrInstallPostgres()
  const directory = makeTemporaryDirectory('postgres')
  const instance: Instance = {
    programs,
    directory,
    dataDir: join(directory, 'data'),
    port: await freePort(),
    runAs: findUser(),
  }
  let server: ChildProcess | undefined

  async function kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (!server || hasEnded(server)) return
    const ends = signal === 'SIGKILL' || signal === 'SIGTERM' || signal === 'SIGQUIT'
    const ended = ends ? once(server, 'exit') : undefined
    server.kill(signal)
    await ended
  }

  async function restart(): Promise<void> {
    await kill()
    server = await startServer(instance)
  }

  async function stop(): Promise<void> {
    // Ends its children too, and waits for them.
    await kill('SIGQUIT')
    await removeTemporaryDirectory(directory)
  }

  const pid = () => (server && !hasEnded(server) ? server.pid : undefined)
  try {
    await createData(instance)
    await restart()
    await createDatabase(instance)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: urlOf(instance, DATABASE), port: instance.port, dataDir: instance.dataDir, pid, kill, restart, stop }
}

function urlOf({ port }: Instance, database: string): string {
  return `postgres://${USER}:${encodeURIComponent(PASSWORD)}@127.0.0.1:${port}/${database}`
}

function findUser(): Instance['runAs'] {
  if (process.getuid?.() !== 0) return {}
  for (const name of ['postgres', 'nobody']) {
    try {
      const idOf = (option: string) =>
        Number(execFileSync('id', [option, name], { stdio: ['ignore', 'pipe', 'ignore'] }))
      return { uid: idOf('-u'), gid: idOf('-g') }
    } catch {
      // No such user.
    }
  }
  throw new Error('Postgres does not run as root, and there is neither a user "postgres" nor "nobody" to run it as')
}

async function createData({ programs, directory, dataDir, runAs }: Instance): Promise<void> {
  const passwordFile = join(directory, 'password')
  writeFileSync(passwordFile, PASSWORD)
  const { uid, gid } = runAs
  if (uid !== undefined && gid !== undefined) for (const path of [directory, passwordFile]) chownSync(path, uid, gid)
  const args = [`--pgdata=${dataDir}`, `--username=${USER}`, `--pwfile=${passwordFile}`, '--auth=scram-sha-256']
  await run(programs.initdb, [...args, '--encoding=UTF8', '--locale=C', '--no-sync'], { cwd: directory, ...runAs })
}

async function createDatabase(instance: Instance): Promise<void> {
  const client = new Client({ connectionString: urlOf(instance, 'postgres') })
  await client.connect()
  await client.query(`CREATE DATABASE ${DATABASE}`)
  await client.end()
}

async function startServer(instance: Instance): Promise<ChildProcess> {
  const deadline = performance.now() + READY_WITHIN_MS
  for (;;) {
    const server = launch(instance)
    const problem = await untilReady(server, instance, deadline)
    if (problem === undefined) return server
    server.kill('SIGKILL')
    const wrote = readFileSync(join(instance.directory, 'server.log'), 'utf8').split('\n').slice(-30).join('\n')
    // After a SIGKILL the last of its children need a moment to notice.
    const isEarly = /still in use|lock file/.test(wrote.split('\n').slice(-5).join('\n'))
    if (!isEarly || performance.now() > deadline) {
      throw new Error(`${instance.programs.server} did not start: ${problem}. It wrote:\n${wrote}`)
    }
    await sleep(100)
  }
}

function launch({ programs, directory, dataDir, port, runAs }: Instance): ChildProcess {
  const log = openSync(join(directory, 'server.log'), 'a')
  const settings = ['listen_addresses=127.0.0.1', 'unix_socket_directories=', 'max_connections=300']
  const args = ['-D', dataDir, '-p', String(port), ...settings.flatMap((setting) => ['-c', setting])]
  // Detached, so that Ctrl-C does not reach it before the tests that use it.
  const server = spawn(programs.server, args, { cwd: directory, detached: true, stdio: ['ignore', log, log], ...runAs })
  closeSync(log)
  guardProcess(server)
  server.unref()
  return server
}

/** Undefined once the server answers, else what is wrong. */
async function untilReady(server: ChildProcess, instance: Instance, deadline: number): Promise<string | undefined> {
  let problem: string | undefined
  server.once('error', (error) => {
    problem = error.message
  })
  while (performance.now() < deadline) {
    if (problem !== undefined) return problem
    if (hasEnded(server)) return `it ended (${server.signalCode ?? server.exitCode})`
    const client = new Client({ connectionString: urlOf(instance, 'postgres'), connectionTimeoutMillis: 5_000 })
    client.on('error', () => undefined)
    try {
      await client.connect()
      await client.query('SELECT 1')
      await client.end()
      return undefined
    } catch (error) {
      if (performance.now() >= deadline) return String(error)
    }
    await sleep(50)
  }
  return `no answer within ${READY_WITHIN_MS} ms`
}
