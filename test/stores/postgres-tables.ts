/** The Postgres server of the tests, and tidying up on it. */
import { Client } from 'pg'

/** Where the tests' server is; throws where it is not set, for a test that is skipped proves nothing. */
export function postgresUrl(): string {
  const url = process.env['TEST_POSTGRES_URL']
  if (!url) throw new Error('TEST_POSTGRES_URL is not set: it names the Postgres server that the tests may use')
  return url
}

/** Drops what these prefixes name: the server is shared with other test files, and may be one that somebody keeps. */
export async function dropPostgresTables(prefixes: ReadonlySet<string>): Promise<void> {
  const client = new Client({ connectionString: postgresUrl() })
  await client.connect()
  const { rows } = await client.query<{ kind: string; name: string }>(`
    SELECT 'FUNCTION' AS kind, p.oid::regprocedure::text AS name FROM pg_proc AS p
      WHERE p.pronamespace = current_schema()::regnamespace
    UNION ALL SELECT 'TABLE', tablename FROM pg_tables WHERE schemaname = current_schema()`)
  for (const { kind, name } of rows) {
    const isOurs = [...prefixes].some((prefix) => name.startsWith(prefix.toLowerCase()))
    if (isOurs) await client.query(`DROP ${kind} ${name} CASCADE`)
  }
  await client.end()
}
