/**
 * What a hand-over costs without session-lock: two processes pass a turn to each other by one write that frees it and
 * one that takes it; what tells the other one is pub/sub on Redis, NOTIFY on Postgres, and elsewhere a look every 40 ms.
 *
 * Argument: a JSON of `{ url, me, other, table }`. Standard input and output as in handover-node.mjs, but that
 * `{ begin: true }` gives the first turn.
 */
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 40

const { url, me, other, table } = JSON.parse(process.argv[2])
const now = () => Number(process.hrtime.bigint()) / 1e6
const { take, free } = await (url.startsWith('redis') ? redis() : url.startsWith('postgres') ? postgres() : polled())

let holdMs = 0
let stopped = false
let having = Promise.resolve()
console.log('ready')
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line)
  stopped = order.stop === true
  if (stopped) {
    await having
    console.log('stopped []')
  } else holdMs = order.holdMs
  if (order.begin) await takeTurn()
}

/** It is free. */
async function takeTurn() {
  if (stopped) return
  await take()
  having = haveTurn()
}

async function haveTurn() {
  const from = now()
  await sleep(holdMs)
  console.log(`turn ${from} ${now()}`)
  if (!stopped) await free()
}

async function redis() {
  const { Redis } = await import('ioredis')
  const [client, listener] = [new Redis(url), new Redis(url)]
  await listener.subscribe(`${table}-${me}`)
  listener.on('message', takeTurn)
  return {
    take: () => client.set(table, me),
    free: () => client.multi().del(table).publish(`${table}-${other}`, '').exec(),
  }
}

async function postgres() {
  const { Client } = (await import('pg')).default
  const [client, listener] = [url, url].map((connectionString) => new Client({ connectionString }))
  await Promise.all([client.connect(), listener.connect()])
  await client.query(`CREATE TABLE IF NOT EXISTS ${table} (name text PRIMARY KEY, owner text)`).catch(() => undefined)
  await client.query(`INSERT INTO ${table} VALUES ('turn', NULL) ON CONFLICT DO NOTHING`)
  await listener.query(`LISTEN ${table}_${me}`)
  listener.on('notification', takeTurn)
  return {
    take: () => client.query(`UPDATE ${table} SET owner = '${me}' WHERE name = 'turn'`),
    free: () => client.query(`UPDATE ${table} SET owner = NULL WHERE name = 'turn'; NOTIFY ${table}_${other}`),
  }
}

async function polled() {
  const query = await (url.startsWith('sqlite') ? sqlite() : mysql())
  await query(`CREATE TABLE IF NOT EXISTS ${table} (name VARCHAR(9) PRIMARY KEY, owner VARCHAR(9))`)
  await query(`REPLACE INTO ${table} VALUES ('turn', NULL)`)
  const poll = async () => {
    const taken = await query(`UPDATE ${table} SET owner = '${me}' WHERE name = 'turn' AND owner = 'to ${me}'`)
    if (taken === 1 && !stopped) having = haveTurn()
    setTimeout(poll, POLL_MS)
  }
  void poll()
  return {
    take: () => query(`UPDATE ${table} SET owner = '${me}' WHERE name = 'turn'`),
    free: () => query(`UPDATE ${table} SET owner = 'to ${other}' WHERE name = 'turn'`),
  }
}

/** How many rows a statement changes. */
async function mysql() {
  const client = await (await import('mysql2/promise')).createConnection(url)
  return async (sql) => (await client.query(sql))[0].affectedRows
}

async function sqlite() {
  const { default: Database } = await import('better-sqlite3')
  const database = new Database(url.slice('sqlite:'.length))
  database.pragma('journal_mode = WAL')
  return (sql) => database.prepare(sql).run().changes
}
