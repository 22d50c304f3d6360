/** Processes that are killed in the middle of everything: with `lease.tx` each message counts once, and without it one sees what a kill does. */
import { randomBytes, randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { seededRandom } from '../../src/testing/waiting.ts'
import { type DyingNodes, startDyingNodes } from '../processes/dying-nodes.ts'
import { type Bare, databases } from './world.ts'

const MESSAGES = Number(process.env['KILLED_MESSAGES'] ?? 300)
const SESSIONS = 4
const COPIES = 3

const WAYS = [
  // So long that the test shows, too, that nobody waits for it.
  { way: 'lease.tx', strategy: 'transaction', staleAfterMs: 30_000 },
  {
    way: 'lease.tx out of the inbox',
    strategy: 'transaction',
    staleAfterMs: 2000,
    inbox: { pollMs: 50, maxAttempts: 1000 },
  },
  { way: 'without lease.tx', strategy: 'lease', staleAfterMs: 2000 },
] as const

const cases = databases.flatMap((database) =>
  WAYS.map((way) => ({ name: database.name, database, inbox: undefined, ...way })),
)

test.each(cases)(
  `$name, $way: ${MESSAGES} messages, each delivered ${COPIES} times, to two processes of which one is killed every 300 ms`,
  async ({ database, way, strategy, staleAfterMs, inbox }) => {
    const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
    const tablePrefix = `k${randomBytes(6).toString('hex')}_`
    const [accounts, ledger] = [`${tablePrefix}accounts`, `${tablePrefix}ledger`]
    const bare = await database.connect()
    await bare.query(`CREATE TABLE ${accounts} (id INT PRIMARY KEY, balance INT NOT NULL)`)
    await bare.query(`CREATE TABLE ${ledger} (entry ${database.serial} PRIMARY KEY, message VARCHAR(20), pid INT)`)
    for (let id = 0; id < SESSIONS; id += 1) await bare.query(`INSERT INTO ${accounts} VALUES (${id}, 0)`)
    const options = { store: database.url(), tablePrefix, strategy, staleAfterMs, maxTransactions: SESSIONS }
    const driver = database.name === 'Postgres' ? 'pg' : 'mysql2'
    const script = new URL('children/bank.mjs', import.meta.url)
    const nodes = await startDyingNodes(script, 2, { options, driver, accounts, ledger, inbox }, seededRandom(seed))
    try {
      await Promise.all(Array.from({ length: SESSIONS }, (_, session) => sendAll(nodes, session)))
      await nodes.spare()
      if (inbox) await untilHandled(bare, `${tablePrefix}queued`)
      const [row] = await bare.query(`SELECT SUM(balance) AS total FROM ${accounts}`)
      const balance = Number(row?.['total'])
      const entries = await bare.query(`SELECT message, pid FROM ${ledger} ORDER BY entry`)
      const twice = writtenTwice(entries)
      console.info(
        `${database.name}, ${way} (SEED=${seed}): a balance of ${balance} for ${MESSAGES} messages, with ` +
          `${nodes.kills()} kills; handled twice: ${twice.map(({ message }) => message).join(', ') || 'none'}`,
      )
      expect(nodes.kills()).toBeGreaterThan(0)
      expect(entries.length).toBe(balance)
      expect(balance).toBe(MESSAGES + twice.length)
      if (strategy === 'transaction') expect(twice).toEqual([])
      // Whoever had written it before was killed before it was marked completed.
      expect(twice.filter(({ before }) => !nodes.killed().has(before))).toEqual([])
    } finally {
      await nodes.end()
      await bare.end()
      await database.dropTables(new Set([tablePrefix]))
    }
  },
  Math.max(200_000, MESSAGES * 600),
)

async function untilHandled(bare: Bare, table: string): Promise<void> {
  const waiting = async () => (await bare.query(`SELECT sequence FROM ${table} LIMIT 1`)).length
  await expect.poll(waiting, { timeout: 100_000, interval: 100 }).toBe(0)
}

/** The messages of one session, one after the other, each until one of its copies was answered 2xx. */
async function sendAll(nodes: DyingNodes, session: number): Promise<void> {
  for (let number = session; number < MESSAGES; number += SESSIONS) {
    const messages = [{ from: `s${session}`, id: `m${number}` }]
    const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages }
    const entry = [{ id: '2000', changes: [{ field: 'messages', value }] }]
    const body = JSON.stringify({ object: 'whatsapp_business_account', entry })
    let isDone = false
    while (!isDone) {
      const answers = await Promise.all(Array.from({ length: COPIES }, () => deliver(nodes, body)))
      isDone = answers.some((status) => status >= 200 && status < 300)
      if (!isDone) await sleep(20)
    }
  }
}

/** 0: no answer. */
async function deliver(nodes: DyingNodes, body: string): Promise<number> {
  const headers = { 'content-type': 'application/json' }
  try {
    const url = `http://127.0.0.1:${await nodes.port()}/webhook`
    // The port of a killed node can be anybody's by now.
    const signal = AbortSignal.timeout(10_000)
    const answer = await fetch(url, { method: 'POST', headers, body, signal })
    await answer.arrayBuffer()
    return answer.status
  } catch {
    return 0
  }
}

/** One for each time too many, with the process that had written it before. */
function writtenTwice(entries: ReadonlyArray<Record<string, unknown>>): Array<{ message: string; before: number }> {
  const writers = new Map<string, number>()
  const twice: Array<{ message: string; before: number }> = []
  for (const { message, pid } of entries as ReadonlyArray<{ message: string; pid: number }>) {
    const before = writers.get(message)
    if (before !== undefined) twice.push({ message, before })
    writers.set(message, pid)
  }
  return twice
}
