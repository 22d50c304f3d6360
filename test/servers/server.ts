import type { ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
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

/** Below those that the system gives outgoing connections: one of these could have it before its server listens. */
const PORTS = { from: 11_000, below: 32_000 }

/** A port on the loopback interface that nobody has. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.below)
    if (await isFree(port)) return port
  }
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer().listen(port, '127.0.0.1')
  try {
    await once(probe, 'listening')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false
    throw error
  }
  probe.close()
  await once(probe, 'close')
  return true
}

/** Is the process gone? */
export function hasEnded(server: ChildProcess): boolean {
  return server.exitCode !== null || server.signalCode !== null
}
