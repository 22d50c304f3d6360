/** Waiting for the disk while the event loop turns: SQLite itself would stop it. */
import { type FileHandle, open } from 'node:fs/promises'

/** The write-ahead log of a database that is open, and that somebody writes without waiting for the disk. */
export interface LogSync {
  /**
   * Fulfilled when what was in the log before the call is on disk, whichever process wrote it: so that nobody builds on
   * what a power cut could take back. Rejects with the system's error.
   */
  wait(): Promise<void>
  close(): void
}

/**
 * As long as a connection to the database is open, its log is one and the same file. Opening and closing that one takes
 * no lock away: SQLite's own are on others.
 *
 * @param path - of the log; it need not be there before the first call
 */
export function createLogSync(path: string): LogSync {
  let log: Promise<FileHandle> | undefined

  function opened(): Promise<FileHandle> {
    log ??= open(path, 'r+').catch((error: unknown) => {
      log = undefined
      throw error
    })
    return log
  }

  return {
    wait: async () => (await opened()).datasync(),
    close() {
      log?.then((file) => file.close()).catch(() => undefined)
    },
  }
}
