/** The MySQL server of the tests, and tidying up on it. */
import { createConnection } from 'mysql2/promise'

/** Where the tests' server is; throws where it is not set, for a test that is skipped proves nothing. */
export function mysqlUrl(): string {
  const url = process.env['TEST_MYSQL_URL']
  if (!url) throw new Error('TEST_MYSQL_URL is not set: it names the MySQL or MariaDB server that the tests may use')
  return url
}

/** Drops the tables of these prefixes: the server is shared with other test files, and may be one that somebody keeps. */
export async function dropTables(prefixes: ReadonlySet<string>): Promise<void> {
  const connection = await createConnection(mysqlUrl())
  const [rows] = await connection.query(
    'SELECT table_name AS name FROM information_schema.tables WHERE table_schema = DATABASE()',
  )
  for (const { name } of rows as Array<{ name: string }>) {
    if ([...prefixes].some((prefix) => name.startsWith(prefix))) await connection.query('DROP TABLE ??', [name])
  }
  await connection.end()
}
