/** The store that a command looks into. */
import { existsSync } from 'node:fs'
import { createSessionLock, type SessionLock } from '../engine/lock.ts'
import { requireTablePrefix } from '../store/migrate.ts'
import { isStoreUrl, openStore } from '../store/open.ts'
import { reasonOf, type Store, StoreError } from '../store/store.ts'
import { type Command, type OptionValues, textOf, UsageError } from './command.ts'

/** The options of every command that needs a store. */
export const STORE_OPTIONS: Command['options'] = {
  store: { type: 'string' },
  'table-prefix': { type: 'string' },
}

const URL_EXAMPLES =
  'sqlite:./bot.db, mysql://user:password@host/database, postgres://user:password@host/database or redis://host:6379/0'

/** Their part of a command's help. */
export const STORE_HELP = `  --store URL           sqlite:./bot.db, mysql://…, postgres://… or redis://…
                        Default: the environment variable SESSION_LOCK_URL, which keeps
                        a password out of the list of processes
  --table-prefix TEXT   what the tables' names start with. Default: session_lock_`

/** A call of the store takes at most this long: connecting and asking together stay below ten seconds. */
const STORE_TIMEOUT_MS = 4000

/**
 * Opens a lock on the store that the command line names, hands it to `work`, and closes it. No tables are made, no
 * settings changed, nothing is cleaned up, nothing is logged.
 *
 * @throws {@link UsageError} where no store is named, or one that cannot be looked into from outside;
 *   {@link StoreError} where it cannot be opened.
 */
export async function withLock<Value>(
  values: OptionValues,
  work: (lock: SessionLock) => Promise<Value>,
): Promise<Value> {
  return withStore(values, async (store) => {
    const lock = createSessionLock({
      store,
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
  })
}

/** As {@link withLock}, for what must work without tables too. */
export async function withStore<Value>(values: OptionValues, work: (store: Store) => Promise<Value>): Promise<Value> {
  const settings = { tablePrefix: tablePrefix(values), timeoutMs: STORE_TIMEOUT_MS, asItIs: true }
  const { store } = await openStore(storeUrl(values), settings)
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

/** What the tables' names start with. Throws a {@link UsageError} where no name can. */
export function tablePrefix(values: OptionValues): string {
  const prefix = textOf(values['table-prefix']) ?? 'session_lock_'
  try {
    requireTablePrefix(prefix)
  } catch (error) {
    throw new UsageError(reasonOf(error))
  }
  return prefix
}

/** The store's URL, of one that can be looked into. */
export function storeUrl(values: OptionValues, mayBeMissing = false): string {
  const url = values['store'] ?? process.env['SESSION_LOCK_URL']
  if (typeof url !== 'string' || url === '') {
    throw new UsageError('no store is named: give --store URL, or set SESSION_LOCK_URL')
  }
  if (/^(memory:|sqlite:(\/\/)?:memory:)/i.test(url)) {
    throw new UsageError('a store in memory lives inside its bot and cannot be looked into from outside')
  }
  if (sqlitePath(url) === '')
    throw new UsageError('the store names no file; an SQLite file is given as sqlite:./bot.db')
  if (!isStoreUrl(url)) {
    // Its text is not shown: a password may stand in it.
    throw new StoreError('setup', `session-lock: the store's URL must be like ${URL_EXAMPLES}; this one is not`)
  }
  if (!mayBeMissing) requireFile(url)
  return url
}

/** SQLite makes the file it does not find, and a mistyped path would look like an idle bot. */
function requireFile(url: string): void {
  const path = sqlitePath(url)
  if (path === undefined || existsSync(path)) return
  throw new StoreError(
    'setup',
    `session-lock: there is no file ${path}. Give the path of the bot's own file, from here or as a whole`,
  )
}

/** Of a URL that names an SQLite file. */
export function sqlitePath(url: string): string | undefined {
  return /^sqlite:(?:\/\/)?(.*)$/i.exec(url)?.[1]
}
