/**
 * A bot that adds 1 to its session's account for each message, and an entry to the ledger. Started with a JSON of
 * `{ options, driver, accounts, ledger, inbox? }`. With the strategy `transaction` it writes in `lease.tx`, else in a
 * transaction of its own, as one does without. `inbox`: it answers first, and handles out of an inbox with these
 * options. It prints `listening <port>` once it has handled messages of its own, which count nowhere: a process that is
 * to live for 300 ms has no time to compile its code in them.
 */
import { request as send } from 'node:http'
import express from 'express'
import { pino } from 'pino'
import { createSessionLock, sessionLock } from 'session-lock'
import { createInbox } from 'session-lock/inbox'

const { options, driver, accounts, ledger, inbox: inboxOptions } = JSON.parse(process.argv[2])
const lock = createSessionLock({ ...options, logger: pino({ level: 'fatal' }) })
const inOwn = options.strategy === 'transaction' ? undefined : await ownTransactions()
await lock.ready()
process.on('unhandledRejection', (error) => {
  console.log(`unhandledRejection ${error}`)
  process.exit(1)
})

/** Sessions with a number that no account has. */
const OWN = 's-'
const OWN_MESSAGES = 4

async function handle(lease) {
  const write = async (client) => {
    await client.query(`UPDATE ${accounts} SET balance = balance + 1 WHERE id = ${Number(lease.prospect.slice(1))}`)
    if (lease.prospect.startsWith(OWN)) return
    await client.query(`INSERT INTO ${ledger} (message, pid) VALUES ('${lease.messageIds[0]}', ${process.pid})`)
  }
  await (inOwn ? inOwn(write) : write(lease.tx))
}

const app = express()
if (inboxOptions) {
  const inbox = createInbox({ lock, handler: (_messages, lease) => handle(lease), ...inboxOptions })
  await inbox.start()
  app.post('/webhook', inbox.receive())
} else {
  app.post('/webhook', express.json(), sessionLock(lock), async (request, response) => {
    await handle(request.sessionLock.leases[0])
    response.sendStatus(200)
  })
}
app.use((_error, _request, response, _next) => response.sendStatus(500))
const server = app.listen(0, '127.0.0.1', async () => {
  await Promise.all(Array.from({ length: OWN_MESSAGES }, (_, index) => sendOwn(index)))
  console.log(`listening ${server.address().port}`)
})

function sendOwn(index) {
  const messages = [{ from: `${OWN}${process.pid}${index}`, id: `own-${process.pid}-${index}` }]
  const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages }
  const entry = [{ id: '2000', changes: [{ field: 'messages', value }] }]
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry })
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
  return new Promise((resolve, reject) => {
    const sent = send({ port: server.address().port, host: '127.0.0.1', method: 'POST', path: '/webhook', headers })
    sent.on('error', reject).on('response', (answer) => answer.resume().on('end', resolve))
    sent.end(body)
  })
}

async function ownTransactions() {
  const connect = driver === 'pg' ? await openPg() : await openMysql()
  return async (write) => {
    const client = await connect()
    try {
      await client.query('BEGIN')
      await write(client)
      await client.query('COMMIT')
    } finally {
      client.release()
    }
  }
}

async function openPg() {
  const { default: pg } = await import('pg')
  const pool = new pg.Pool({ connectionString: options.store })
  return () => pool.connect()
}

async function openMysql() {
  const { createPool } = await import('mysql2/promise')
  const pool = createPool({ uri: options.store })
  return () => pool.getConnection()
}
