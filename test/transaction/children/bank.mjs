/**
 * A bot that adds 1 to its session's account for each message, and an entry to the ledger. Started with a JSON of
 * `{ options, driver, accounts, ledger, inbox? }`. With the strategy `transaction` it writes in `lease.tx`, else in a
 * transaction of its own, as one does without. `inbox`: it answers first, and handles out of an inbox with these
 * options. It prints `listening <port>`.
 */
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

async function handle(lease) {
  const write = async (client) => {
    await client.query(`UPDATE ${accounts} SET balance = balance + 1 WHERE id = ${Number(lease.prospect.slice(1))}`)
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
const server = app.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))

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
