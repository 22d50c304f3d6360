import { startMariadb } from './mariadb.ts'
import { startPostgres } from './postgres.ts'
import { startRedis } from './redis.ts'

/** Before the first test file: starts the servers all files share. What it returns ends them after the last. */
export async function setup(): Promise<() => Promise<void>> {
  const [mariadb, postgres, redis] = await Promise.all([startMariadb(), startPostgres(), startRedis()])
  process.env['TEST_MYSQL_URL'] = mariadb.url
  process.env['TEST_POSTGRES_URL'] = postgres.url
  process.env['TEST_REDIS_URL'] = redis.url
  return async () => {
    await Promise.all([mariadb.stop(), postgres.stop(), redis.stop()])
  }
}
