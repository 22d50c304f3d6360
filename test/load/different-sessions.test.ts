import { randomBytes } from 'node:crypto'
import { type Connection, createConnection, type RowDataPacket } from 'mysql2/promise'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'

const BENCH = new URL('../bench/', import.meta.url)
const DELIVERIES = 20_000

const tablePrefix = `load_${randomBytes(4).toString('hex')}_`
let database: Connection
let bot: NodeProcess
let load: NodeProcess

beforeEach(async () => {
  database = await createConnection(process.env['TEST_MYSQL_URL'] as string)
  const options = { store: process.env['TEST_MYSQL_URL'], tablePrefix }
  bot = spawnNode(new URL('server.mjs', BENCH), [JSON.stringify({ protection: 'session-lock', options })])
  load = spawnNode(new URL('load.mjs', BENCH))
})

afterEach(async () => {
  for (const started of [bot, load]) started.kill('SIGKILL')
  await Promise.all([bot.exited, load.exited])
  for (const table of ['sessions', 'messages', 'migrations']) await database.query(`DROP TABLE ${tablePrefix}${table}`)
  await database.end()
})

async function count(sql: string): Promise<number> {
  const [rows] = await database.query<RowDataPacket[]>(`SELECT COUNT(*) AS number FROM ${tablePrefix}${sql}`)
  return Number(rows[0]?.['number'])
}

test('20 000 messages of as many sessions, over 64 connections: every one is handled, nobody sees a deadlock', async () => {
  const port = Number((await bot.waitForLine(/^listening (\d+)/))[1])
  load.send(JSON.stringify({ ports: [port], connections: 64, deliveries: DELIVERIES }))
  const [line] = await load.waitForLine(/^\{.*\}$/, 240_000)
  expect(JSON.parse(line)).toMatchObject({ deliveries: DELIVERIES, statuses: { 200: DELIVERIES } })

  // A settlement is written after its answer.
  await expect.poll(() => count('sessions'), { timeout: 10_000 }).toBe(0)
  expect(await count('messages')).toBe(DELIVERIES)
  const asTheyShouldBe = `messages WHERE status = 'completed' AND attempts = 1 AND last_error IS NULL
    AND provider = 'whatsapp-cloud' AND id_device = '100000000000001' AND fencing_token > 0 AND expires_at > finished_at`
  expect(await count(asTheyShouldBe)).toBe(DELIVERIES)

  const stats = (await (await fetch(`http://127.0.0.1:${port}/stats`)).json()) as { node: Record<string, number> }
  expect(stats.node).toMatchObject({ storeErrors: 0, holding: 0, waiting: 0 })
  const warnings = bot.lines.slice(1).filter((text) => !text.includes('signatures are not checked'))
  expect(warnings).toEqual([])
  expect(bot.stderr()).toBe('')
}, 300_000)
