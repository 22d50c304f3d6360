/** What is compared. Each variant has a server process of its own, and tables of its own. */

/** Express without the lock, which everything else is compared with. */
export const BARE = { name: 'bare Express', server: {} }

/** The two that show what group commit is worth. */
export const GROUP_COMMIT = 'mysql'
export const BATCHES_OF_ONE = 'mysql, batches of one'

/** Beside the one lock of a real bot, to be fair: transactions of one that at least run side by side. */
const SIDE_BY_SIDE = 16

/**
 * The variants of the stores that were asked for.
 *
 * @throws Error naming a store that is not known
 */
export function variantsOf(stores, { mysqlUrl, sqliteFile }) {
  const mysql = (tablePrefix, more) => ({ options: { store: mysqlUrl, tablePrefix, ...more } })
  const byStore = {
    memory: () => [{ name: 'memory', server: { options: { store: 'memory:' } } }],
    sqlite: () => [{ name: 'sqlite', server: { options: { store: `sqlite:${sqliteFile}` } } }],
    mysql: () => [
      { name: GROUP_COMMIT, commits: true, server: mysql('bench_group_', {}) },
      { name: BATCHES_OF_ONE, commits: true, server: mysql('bench_single_', { maxBatch: 1 }) },
      {
        name: `mysql, batches of one, ${SIDE_BY_SIDE} locks side by side`,
        commits: true,
        server: { ...mysql('bench_beside_', { maxBatch: 1 }), locks: SIDE_BY_SIDE },
      },
    ],
  }
  return stores.flatMap((store) => {
    if (!Object.hasOwn(byStore, store)) throw new Error(`--stores takes ${Object.keys(byStore).join(', ')}`)
    return byStore[store]()
  })
}
