/** The store that a command looks into. */
import { existsSync } from 'node:fs'
import { createSessionLock, type SessionLock } from '../engine/lock.ts'
import { isStoreUrl } from '../store/open.ts'
import { StoreError } from '../store/store.ts'
import { type Command, type OptionValues, UsageError } from './command.ts'

/** The options of every command that needs a store. */
export const STORE_OPTIONS: Command['options'] = {
  store: { type: 'string' },
  'table-prefix': { type: 'string' },
}

const URL_EXAMPLES = 'sqlite:./bot.db or mysql://user:password@host/database'

/** Their part of a command's help. */
export const STORE_HELP = `  --store URL           ${URL_EXAMPLES}
                        Default: the environment variable SESSION_LOCK_URL, which keeps
                        a password out of the list of processes
  --table-prefix TEXT   what the tables' names start with. Default: session_lock_`

/** A call of the store takes at most this long: connecting and asking together stay below ten seconds. */
const STORE_TIMEOUT_MS = 4000

/**
 * Opens a lock on the store that the command line names, hands it to `work`, and closes it. Nothing is
 * changed in the store: no tables are made, nothing is cleaned up, nothing is logged.
 *
 * @throws {@link UsageError} where no store is named, or one that cannot be looked into from outside;
 *   {@link StoreError} where it cannot be opened.
 */
export async function withLock<Value>(
  values: OptionValues,
  work: (lock: SessionLock) => Promise<Value>,
): Promise<Value> {
  const lock = createSessionLock({
    store: storeUrl(values),
    tablePrefix: tablePrefix(values),
    migrate: 'off',
    cleanupEveryMs: 0,
    storeTimeoutMs: STORE_TIMEOUT_MS,
    logger: false,
  })
  try {
    return await work(lock)
  } finally {
    await lock.close()
  }
}

function tablePrefix(values: OptionValues): string | undefined {
  const prefix = values['table-prefix']
  return typeof prefix === 'string' ? prefix : undefined
}

function storeUrl(values: OptionValues): string {
  const url = values['store'] ?? process.env['SESSION_LOCK_URL']
  if (typeof url !== 'string' || url === '') {
    throw new UsageError('no store is named: give --store URL, or set SESSION_LOCK_URL')
  }
  if (/^(memory:|sqlite:(\/\/)?:memory:)/i.test(url)) {
    throw new UsageError('a store in memory lives inside its bot and cannot be looked into from outside')
  }
  if (!isStoreUrl(url)) {
    // Its text is not shown: a password may stand in it.
    throw new StoreError('setup', `session-lock: the store's URL must be like ${URL_EXAMPLES}; this one is not`)
  }
  requireFile(url)
  return url
}

/** SQLite makes the file it does not find, and a mistyped path would look like an idle bot. */
function requireFile(url: string): void {
  const path = /^sqlite:(?:\/\/)?(.*)$/i.exec(url)?.[1]
  if (path === undefined || existsSync(path)) return
  throw new StoreError(
    'setup',
    `session-lock: there is no file ${path}. Give the path of the bot's own file, from here or as a whole`,
  )
}
