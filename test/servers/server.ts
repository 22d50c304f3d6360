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
