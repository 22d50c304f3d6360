/** How many connections a store has, as its server sees them. */
import { Redis } from 'ioredis'
import { createConnection, type RowDataPacket } from 'mysql2/promise'
import { Client } from 'pg'
import { mysqlUrl } from './mysql-tables.ts'
import { postgresUrl } from './postgres-tables.ts'
import { redisUrl } from './redis-keys.ts'

/** A URL whose connections can be told from all others; on MySQL also a database of its own. */
export interface CountedUrl {
  readonly url: string
  count(): Promise<number>
  close(): Promise<void>
}

/** `name` is some text that nobody else uses. */
export const countedUrls: Readonly<Record<'mysql' | 'postgres' | 'redis', (name: string) => Promise<CountedUrl>>> = {
  async mysql(name) {
    const admin = await createConnection(mysqlUrl())
    await admin.query(`CREATE DATABASE ${name}`)
    const url = new URL(mysqlUrl())
    url.pathname = name
    return {
      url: url.href,
      async count() {
        const sql = 'SELECT 1 FROM information_schema.processlist WHERE db = ?'
        return (await admin.query<RowDataPacket[]>(sql, [name]))[0].length
      },
      async close() {
        await admin.query(`DROP DATABASE ${name}`)
        await admin.end()
      },
    }
  },
  async postgres(name) {
    const admin = new Client({ connectionString: postgresUrl() })
    await admin.connect()
    const url = new URL(postgresUrl())
    url.searchParams.set('application_name', name)
    return {
      url: url.href,
      async count() {
        const { rows } = await admin.query('SELECT 1 FROM pg_stat_activity WHERE application_name = $1', [name])
        return rows.length
      },
      close: () => admin.end(),
    }
  },
  async redis(name) {
    const admin = new Redis(redisUrl())
    await admin.acl('SETUSER', name, 'on', '>counted', '~*', '&*', '+@all')
    const url = new URL(redisUrl())
    url.username = name
    url.password = 'counted'
    return {
      url: url.href,
      async count() {
        return String(await admin.client('LIST')).split(`user=${name} `).length - 1
      },
      async close() {
        await admin.acl('DELUSER', name)
        admin.disconnect()
      },
    }
  },
}
