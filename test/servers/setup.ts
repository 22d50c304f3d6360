import { startMariadb } from './mariadb.ts'

/** Before the first test file: starts the servers all files share. What it returns ends them after the last. */
export async function setup(): Promise<() => Promise<void>> {
  const mariadb = await startMariadb()
  process.env['TEST_MYSQL_URL'] = mariadb.url
  return () => mariadb.stop()
}
