/** The tables of the show, made and looked into. */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

/** The database, with this schema as the one that the program's tables are in. */
export function urlOfSchema(schema) {
  const url = new URL(process.env.DATABASE_URL)
  url.searchParams.set('options', `-c search_path=${schema}`)
  return url.href
}

/** Makes the schema anew, with the tables of these files. */
export async function makeTables({ schema, files }) {
  const client = new pg.Client({ connectionString: urlOfSchema(schema) })
  await client.connect()
  await client.query('SET client_min_messages = warning')
  await client.query(`DROP SCHEMA IF EXISTS ${schema} CASCADE`)
  await client.query(`CREATE SCHEMA ${schema}`)
  for (const file of files) await client.query(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8'))
  await client.end()
}

/** What a statement that counts gives. */
export async function countOf(database, statement, values = []) {
  const { rows } = await database.query(statement, values)
  return Number(rows[0].count)
}

/** Asks again and again; gives up after `limitMs`. */
export async function until(isSo, limitMs) {
  const end = performance.now() + limitMs
  while (performance.now() < end && !(await isSo())) await sleep(20)
}
