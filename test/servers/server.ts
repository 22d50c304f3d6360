import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:net'

/** A throwaway database server of the tests' own, on a free loopback port, with its data in a temporary directory. */
export interface TestServer {
  /** For a store: user, password and database are in it. It stays the same over stops and starts. */
  readonly url: string
  readonly port: number
  readonly dataDir: string
  /** Of the server process now running; undefined while it is down. */
  readonly pid: () => number | undefined
  /** Signals the process: SIGKILL unless given. For SIGKILL and SIGTERM it settles when the process has ended. */
  readonly kill: (signal?: NodeJS.Signals) => Promise<void>
  /** Starts it again on the same port and data (killing it first where it runs) and waits until it answers. */
  readonly restart: () => Promise<void>
  /** Ends it and removes its data. */
  readonly stop: () => Promise<void>
}

/** A port on the loopback interface that nobody has. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('the system gave no port')
  return address.port
}

/** Is the process gone? */
export function hasEnded(server: ChildProcess): boolean {
  return server.exitCode !== null || server.signalCode !== null
}
