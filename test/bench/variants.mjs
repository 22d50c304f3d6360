/** What is compared. Each variant has bot processes of its own, and tables or keys of its own. */

/** The stores in the order of the report, as `--stores` names them. */
export const STORES = {
  memory: 'In memory',
  sqlite: 'SQLite',
  redis: 'Redis',
  postgres: 'Postgres',
  mariadb: 'MariaDB',
}

/** Express without protection, which everything else is compared with. */
export const BARE = { name: 'bare Express', store: '', kind: 'bare', protects: 'nothing', bot: {} }

const BOTH = 'messages, sessions'
const ACKNOWLEDGES_EARLY = `${BOTH}; a duplicate is answered with 200 while the first is in flight`
const DROPS_BUSY = `${ACKNOWLEDGES_EARLY}, and what meets a busy session is lost`
const MESSAGES_ONLY = 'messages only; a duplicate in flight is refused'
const ONE_PROCESS = '; in one process'

/**
 * All of them. `urls` has one for each store that needs it.
 *
 * `kind`: `ours`, the lock as it comes; `single`, without group commit; `transaction`, one a request; `peer`, another
 * library. `protects`: which of the two protections it gives. `commits`: its commits are counted.
 */
export function allVariants(urls) {
  const lock = (store, options) => ({
    name: 'session-lock',
    store,
    kind: 'ours',
    protects: store === 'memory' ? BOTH + ONE_PROCESS : BOTH,
    bot: { protection: 'session-lock', options: { store: urls[store], tablePrefix: 'bench_', ...options } },
  })
  const peer = (name, store, protects, protection, options) => ({
    name,
    store,
    kind: 'peer',
    protects,
    messagesOnly: protects.startsWith(MESSAGES_ONLY),
    bot: { protection, options: { url: urls[store], ...options } },
  })
  const oneTransaction = (store) => ({
    ...peer('one transaction a request', store, BOTH, 'one-transaction'),
    kind: 'transaction',
  })
  return [
    lock('memory'),
    peer('chat, state-memory', 'memory', DROPS_BUSY + ONE_PROCESS, 'chat', { adapter: 'memory' }),
    peer('express-idempotency', 'memory', MESSAGES_ONLY + ONE_PROCESS, 'express-idempotency'),
    lock('sqlite'),
    lock('redis'),
    peer('chat, state-redis', 'redis', DROPS_BUSY, 'chat', { adapter: 'redis' }),
    peer('chat, state-ioredis', 'redis', DROPS_BUSY, 'chat', { adapter: 'ioredis' }),
    peer('redlock + SET NX', 'redis', ACKNOWLEDGES_EARLY, 'redlock'),
    peer('@node-idempotency/core', 'redis', MESSAGES_ONLY, 'node-idempotency'),
    lock('postgres'),
    peer('chat, state-pg', 'postgres', DROPS_BUSY, 'chat', { adapter: 'pg' }),
    oneTransaction('postgres'),
    { ...lock('mariadb'), commits: true },
    {
      ...lock('mariadb', { tablePrefix: 'bench_single_', maxBatch: 1 }),
      name: 'session-lock, batches of one',
      kind: 'single',
      commits: true,
    },
    oneTransaction('mariadb'),
  ]
}

/** By which results are found: names repeat from store to store. */
export const keyOf = ({ name, store }) => (store === '' ? name : `${name} · ${STORES[store]}`)
