/**
 * The queues that are compared, each set up as its documentation says to handle one message of a session at a time,
 * in order, and as fast as it goes. Of each:
 *
 * - `receive(session, body)` settles when the message is on disk
 * - `handle(session, body)` is called for each message, and does nothing that takes time
 * - `waiting()` resolves to how many are not completed
 */
import pg from 'pg'

/** Connections of the others. Ours has two. */
const POOL = 20

async function startSessionLock({ url, tablePrefix }, handle) {
  const { createSessionLock } = await import('../../dist/index.js')
  const { createInbox } = await import('../../dist/inbox/index.js')
  const lock = createSessionLock({ store: url, tablePrefix, logger: false })
  const handler = ([{ prospect, payload }]) => handle(prospect, payload)
  const inbox = createInbox({ lock, handler, concurrency: 128 })
  await inbox.start()
  return {
    receive: (session, body) =>
      inbox.accept({ provider: 'bench', messages: [{ id: body.id, prospect: session, device: 'bot' }] }, body),
    waiting: async () => (await inbox.stats()).messages,
    async stop() {
      await inbox.stop()
      await lock.close()
    },
  }
}

/** A queue of the policy `key_strict_fifo`; of each key one job is fetched at a time. */
async function startPgBoss({ url }, handle) {
  const { PgBoss } = await import('pg-boss')
  const boss = new PgBoss({ connectionString: url, schema: 'pgboss', max: POOL, supervise: false, schedule: false })
  boss.on('error', (error) => process.stderr.write(`pg-boss: ${error.message}\n`))
  await boss.start()
  await boss.createQueue('webhooks', { policy: 'key_strict_fifo' })
  const options = { batchSize: 100, localConcurrency: 2, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5 }
  await boss.work('webhooks', options, async (jobs) => {
    for (const { data } of jobs) handle(data.session, data.body)
  })
  return {
    receive: (session, body) => boss.send('webhooks', { session, body }, { singletonKey: session }),
    waiting: counting(url, `SELECT count(*) FROM pgboss.job WHERE name = 'webhooks' AND state < 'completed'`),
    stop: () => boss.stop({ graceful: true, timeout: 10_000 }),
  }
}

/** A queue of its own for each session: `queueName`. */
async function startGraphileWorker({ url }, handle) {
  const { run, Logger } = await import('graphile-worker')
  const pgPool = new pg.Pool({ connectionString: url, max: POOL })
  const runner = await run({
    pgPool,
    concurrency: 10,
    noHandleSignals: true,
    pollInterval: 500,
    logger: new Logger(() => () => {}),
    taskList: { webhook: async ({ session, body }) => handle(session, body) },
  })
  return {
    receive: (session, body) => runner.addJob('webhook', { session, body }, { queueName: session }),
    waiting: counting(url, 'SELECT count(*) FROM graphile_worker._private_jobs'),
    async stop() {
      await runner.stop()
      await pgPool.end()
    },
  }
}

function counting(url, sql) {
  return async () => {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    const { rows } = await client.query(sql)
    await client.end()
    return Number(rows[0].count)
  }
}

export const QUEUES = {
  'session-lock': startSessionLock,
  'pg-boss': startPgBoss,
  'graphile-worker': startGraphileWorker,
}
