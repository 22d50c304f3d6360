import type { ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
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

/**
 * A port on the loopback interface that nobody has, and that nobody else who asks here is given while this process
 * lives: its server may be about to listen, or be down for a moment.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(PORTS.from, PORTS.below)
    const keeper = await keepPort(port)
    if (!keeper) continue
    if (await isFree(port)) return port
    keeper.close()
  }
}

/** Takes the number among UDP's ports, which no server of the tests uses: the system gives it back whatever happens. */
async function keepPort(port: number): Promise<Socket | undefined> {
  const keeper = createSocket('udp4')
  const listening = once(keeper.bind({ port, address: '127.0.0.1', exclusive: true }), 'listening')
  return (await isBound(listening)) ? keeper.unref() : undefined
}

async function isFree(port: number): Promise<boolean> {
  const probe = createServer().listen(port, '127.0.0.1')
  if (!(await isBound(once(probe, 'listening')))) return false
  probe.close()
  await once(probe, 'close')
  return true
}

async function isBound(listening: Promise<unknown>): Promise<boolean> {
  try {
    await listening
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false
    throw error
  }
}

/** Is the process gone? */
export function hasEnded(server: ChildProcess): boolean {
  return server.exitCode !== null || server.signalCode !== null
}
