/**
 * The strategy `transaction`: how soon a waiter has a session, and what waiters cost others.
 *
 *   npm run bench:blocking -- --rounds 200 --kills 10 --stores mysql,postgres
 *
 * - handed over: from the end of one handler, its commit included, to the beginning of the next one, which waits in
 *   the database on another lock
 * - after commit: the same from when the holder knows of its commit; the waiter's own claim is written in between
 * - killed: from the kill of a process whose handler is between two statements to the beginning of the waiter's
 *   handler, while `staleAfterMs` is 30 s
 * - own pool: a query of the user's own pool, alone and beside 200 messages that wait
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createPool } from 'mysql2/promise'
import pg from 'pg'
import { createSessionLock } from '../../dist/index.js'
import { inWorkshop, percentile, printTable, wholeNumber } from './workshop.mjs'

const WAITERS = 200
const SESSIONS = 10
const WAIT_MS = 60_000

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '200' },
    kills: { type: 'string', default: '10' },
    stores: { type: 'string', default: 'mysql,postgres' },
  },
})
const [rounds, kills] = ['rounds', 'kills'].map((name) => wholeNumber(values, name))

await inWorkshop(values.stores.split(','), async ({ urls, spawnNode }) => {
  const lines = [
    [
      'ms',
      'handed over p50',
      'p99',
      'after commit p50',
      'p99',
      'killed p50',
      'most',
      'own pool alone p50',
      'p99',
      'beside p50',
      'p99',
    ],
  ]
  for (const [store, url] of Object.entries(urls)) {
    const figures = [
      ...(await handedOver(url)).flatMap((times) => ends(times, 0.99)),
      ...ends(await killed(url, spawnNode), 1),
      ...(await ownPool(url)).flatMap((times) => ends(times, 0.99)),
    ]
    lines.push([store, ...figures.map((figure) => figure.toFixed(2))])
  }
  printTable(`strategy transaction, ${rounds} hand-overs, ${kills} kills, ${WAITERS} waiters`, lines)
})

function ends(times, last) {
  return [percentile(times, 0.5), percentile(times, last)]
}

function open(url, more) {
  const options = { store: url, tablePrefix: 'bench_blocking_', strategy: 'transaction', staleAfterMs: 30_000 }
  return createSessionLock({ ...options, logger: false, lockWaitMs: WAIT_MS, ...more })
}

async function handedOver(url) {
  const locks = [open(url), open(url)]
  const [fromEnd, fromCommit] = [[], []]
  for (let round = 0; round < rounds; round += 1) {
    let endedAt = 0
    const holding = withResolvers()
    const first = locks[0].run({ session: 'handed' }, async (lease) => {
      await lease.tx.query('SELECT 1')
      holding.resolve()
      await sleep(30)
      endedAt = performance.now()
    })
    await holding.promise
    const committed = first.then(() => performance.now())
    let begunAt = 0
    await locks[1].run({ session: 'handed' }, () => {
      begunAt = performance.now()
    })
    fromEnd.push(begunAt - endedAt)
    fromCommit.push(begunAt - (await committed))
  }
  await Promise.all(locks.map((lock) => lock.close()))
  return [fromEnd, fromCommit]
}

function withResolvers() {
  const made = {}
  made.promise = new Promise((resolve) => {
    made.resolve = resolve
  })
  return made
}

async function killed(url, spawnNode) {
  const lock = open(url)
  await lock.ready()
  const times = []
  for (let kill = 0; kill < kills; kill += 1) {
    const options = { store: url, tablePrefix: 'bench_blocking_', strategy: 'transaction', staleAfterMs: 30_000 }
    const node = spawnNode(new URL('blocking-node.mjs', import.meta.url), [JSON.stringify(options)])
    await node.waitForLine(/^holding$/)
    let killedAt = 0
    const waiting = lock.run({ session: 'killed' }, () => times.push(performance.now() - killedAt))
    await sleep(200)
    killedAt = performance.now()
    node.kill('SIGKILL')
    await waiting
    await node.exited
  }
  await lock.close()
  return times
}

async function ownPool(url) {
  const pool = url.startsWith('postgres') ? new pg.Pool({ connectionString: url, max: 4 }) : createPool(url)
  const [holder, lock] = [open(url), open(url, { store: pool })]
  await Promise.all([holder.ready(), lock.ready()])
  const alone = await timeQueries(pool)
  const gate = withResolvers()
  const holding = Array.from({ length: SESSIONS }, (_, session) => enterAndWait(holder, session, gate.promise))
  await Promise.all(holding.map(({ entered }) => entered))
  const waiting = Array.from({ length: WAITERS }, (_, number) =>
    lock.run({ session: `s${number % SESSIONS}` }, () => undefined),
  )
  await sleep(500)
  const beside = await timeQueries(pool)
  gate.resolve()
  await Promise.all([...holding.map(({ ended }) => ended), ...waiting])
  await Promise.all([holder.close(), lock.close()])
  await pool.end()
  return [alone, beside]
}

function enterAndWait(lock, session, opened) {
  const entered = withResolvers()
  const ended = lock.run({ session: `s${session}` }, async () => {
    entered.resolve()
    await opened
  })
  return { entered: entered.promise, ended }
}

async function timeQueries(pool) {
  const times = []
  for (let query = 0; query < 500; query += 1) {
    const begunAt = performance.now()
    await pool.query('SELECT 1')
    times.push(performance.now() - begunAt)
    await sleep(1)
  }
  return times
}
