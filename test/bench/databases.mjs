/** The databases of a run: throwaway servers of the tests' own, or those that the environment names. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { Redis } from 'ioredis'
import { createConnection } from 'mysql2/promise'
import pg from 'pg'

/**
 * Starts what the stores need.
 *
 * @returns `urls` by store; `facts` by store: its version, and how durable what it acknowledges is; `stop`
 * @throws Error where MariaDB or Postgres may lose what it has acknowledged: then nothing here compares
 */
export async function startDatabases(stores, { startMariadb, startPostgres, startRedis, makeTemporaryDirectory }) {
  const starts = {
    mariadb: () => process.env['TEST_MYSQL_URL'] ?? startMariadb(),
    postgres: () => process.env['TEST_POSTGRES_URL'] ?? startPostgres(),
    redis: () => process.env['TEST_REDIS_URL'] ?? startRedis(),
  }
  const urls = { memory: 'memory:' }
  const facts = {}
  const stops = []
  const stop = () => Promise.all(stops.map((end) => end()))
  try {
    for (const store of stores.filter((name) => Object.hasOwn(starts, name))) {
      const server = await starts[store]()
      urls[store] = server.url ?? server
      if (server.stop) stops.push(server.stop)
    }
    if (stores.includes('sqlite')) {
      const directory = makeTemporaryDirectory('bench')
      urls['sqlite'] = `sqlite:${join(directory, 'bench.db')}`
      stops.push(() => rmSync(directory, { recursive: true, force: true }))
    }
    for (const [store, tell] of Object.entries(TELLERS))
      if (stores.includes(store)) facts[store] = await tell(urls[store])
    return { urls, facts, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

const TELLERS = {
  sqlite(url) {
    const database = openSqlite(url)
    const { version } = database.prepare('SELECT sqlite_version() AS version').get()
    database.close()
    return `SQLite ${version}, journal_mode=WAL, synced to disk where a message is completed`
  },

  async redis(url) {
    const redis = new Redis(url)
    const [, version] = /redis_version:(\S+)/.exec(await redis.info('server'))
    const [, appendonly] = await redis.config('GET', 'appendonly')
    const [, appendfsync] = await redis.config('GET', 'appendfsync')
    const [, save] = await redis.config('GET', 'save')
    redis.disconnect()
    const log = appendonly === 'yes' ? `appendonly=yes, appendfsync=${appendfsync}` : 'appendonly=no'
    return `Redis ${version}, ${log}, save="${save}"`
  },

  async postgres(url) {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    const show = async (name) => Object.values((await client.query(`SHOW ${name}`)).rows[0])[0]
    const version = await show('server_version')
    const [fsync, commit] = [await show('fsync'), await show('synchronous_commit')]
    await client.end()
    mustBe(fsync === 'on' && commit === 'on', `Postgres: fsync=${fsync}, synchronous_commit=${commit}`)
    return `Postgres ${version.split(' ')[0]}, fsync=on, synchronous_commit=on`
  },

  async mariadb(url) {
    const connection = await createConnection(url)
    const [[row]] = await connection.query(
      'SELECT VERSION() AS version, @@innodb_flush_log_at_trx_commit AS flush, @@log_bin AS binlog',
    )
    await connection.end()
    mustBe(Number(row.flush) === 1, `MariaDB: innodb_flush_log_at_trx_commit=${row.flush}`)
    const name = /mariadb/i.test(row.version) ? 'MariaDB' : 'MySQL'
    return `${name} ${row.version.split('-')[0]}, innodb_flush_log_at_trx_commit=1, log_bin=${row.binlog ? 'ON' : 'OFF'}`
  },
}

function mustBe(durable, settings) {
  if (!durable) throw new Error(`${settings}: this server may lose what it has acknowledged; measure on its defaults`)
}

/** For whoever waits for the disk in each transaction. */
export function openSqlite(url) {
  const database = new Database(url.slice('sqlite:'.length))
  database.pragma('journal_mode = WAL')
  database.pragma('synchronous = FULL')
  return database
}

/** Counts COMMIT statements of the whole server: the store's connections commit by nothing else. */
export async function startCommitCounter(url) {
  const connection = await createConnection(url)
  return {
    async count() {
      const [rows] = await connection.query(`SHOW GLOBAL STATUS LIKE 'Com_commit'`)
      return Number(rows[0].Value)
    },
    end: () => connection.end(),
  }
}
