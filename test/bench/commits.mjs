/**
 * The store's own two commits: a row taken and given back, each in a transaction of its own, by the bare driver. What
 * protection adds to a lone request cannot be less. A process of its own, as a bot is one.
 *
 * Started with a JSON of URLs by store. Standard input: a JSON a line, `{ store, seconds, side }`: so many at once
 * (1: one after another); standard output: a JSON a line, `{ p50Ms }`.
 */
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import { createConnection } from 'mysql2/promise'
import pg from 'pg'
import { openSqlite } from './databases.mjs'

const urls = JSON.parse(process.argv[2])

/** Each opens a connection, and gives the two commits for one id, and an end. */
const OPENERS = {
  async sqlite(url) {
    const database = openSqlite(url)
    database.exec('CREATE TABLE IF NOT EXISTS two_commits (id TEXT PRIMARY KEY)')
    const insert = database.prepare('INSERT INTO two_commits VALUES (?)')
    const remove = database.prepare('DELETE FROM two_commits WHERE id = ?')
    return [(id) => insert.run(id), (id) => remove.run(id), () => database.close()]
  },

  async redis(url) {
    const redis = new Redis(url)
    return [(id) => redis.set(`two_commits:${id}`, '1'), (id) => redis.del(`two_commits:${id}`), () => redis.quit()]
  },

  async postgres(url) {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    await client.query('CREATE TABLE IF NOT EXISTS two_commits (id text PRIMARY KEY)')
    const insert = { name: 'insert', text: 'INSERT INTO two_commits VALUES ($1)' }
    const remove = { name: 'remove', text: 'DELETE FROM two_commits WHERE id = $1' }
    return [
      (id) => client.query({ ...insert, values: [id] }),
      (id) => client.query({ ...remove, values: [id] }),
      () => client.end(),
    ]
  },

  async mariadb(url) {
    const connection = await createConnection(url)
    await connection.query('CREATE TABLE IF NOT EXISTS two_commits (id VARCHAR(191) PRIMARY KEY)')
    return [
      (id) => connection.execute('INSERT INTO two_commits VALUES (?)', [id]),
      (id) => connection.execute('DELETE FROM two_commits WHERE id = ?', [id]),
      () => connection.end(),
    ]
  },
}

async function measure({ store, seconds, side }) {
  const latenciesMs = []
  const connections = []
  for (let index = 0; index < side; index += 1) connections.push(await OPENERS[store](urls[store]))
  const until = performance.now() + seconds * 1000
  await Promise.all(
    connections.map(async ([insert, remove], index) => {
      for (let number = 0; performance.now() < until; number += 1) {
        const startedAt = performance.now()
        await insert(`${index}:${number}`)
        await remove(`${index}:${number}`)
        latenciesMs.push(performance.now() - startedAt)
      }
    }),
  )
  for (const [, , end] of connections) await end()
  latenciesMs.sort((a, b) => a - b)
  return { p50Ms: latenciesMs[latenciesMs.length >> 1] }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await measure(JSON.parse(line))))
}
