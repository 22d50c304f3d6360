import { createHmac } from 'node:crypto'
import { createPool, type Pool, type RowDataPacket } from 'mysql2/promise'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'
import { type StandIn, startStandIn } from './whatsapp-session-bot-stand-in.ts'

const EXAMPLE = new URL('../../examples/whatsapp-session-bot/', import.meta.url)
const DATABASE_URL = process.env['TEST_MYSQL_URL'] as string
const WEBHOOK_SECRET = 'webhook-secret'
const PROSPECT = '628123456789@s.whatsapp.net'
const DEVICE = '628987654321@s.whatsapp.net'
const OLD_LOCK_TABLE = 'whatsapp_bot_old_lock'
/** Long enough for a machine that has much else to do, for what must happen before a row is stale. */
const STALE_AFTER_MS = 8000
/** Processes are started, and rows waited for until they are stale. */
const LONG_MS = 90_000

let database: Pool
let standIn: StandIn
let started: NodeProcess[]

beforeAll(() => {
  database = createPool({ uri: DATABASE_URL })
})

afterAll(async () => {
  await dropTables()
  await database.end()
})

beforeEach(async () => {
  await dropTables()
  started = []
  standIn = await startStandIn()
})

afterEach(async () => {
  for (const each of started) each.kill('SIGKILL')
  await Promise.all(started.map((each) => each.exited))
  standIn.stop()
})

async function dropTables(): Promise<void> {
  const [tables] = await database.query<RowDataPacket[]>(
    `SELECT table_name AS name FROM information_schema.tables
     WHERE table_schema = DATABASE() AND table_name LIKE 'whatsapp\\_bot\\_%'`,
  )
  for (const { name } of tables) await database.query(`DROP TABLE ${name}`)
}

interface Bot {
  readonly node: NodeProcess
  readonly webhook: string
}

async function startBot(program: string, more: Record<string, string> = {}): Promise<Bot> {
  const environment = { ...standIn.environment, DATABASE_URL, WEBHOOK_SECRET, PORT: '0', ...more }
  const node = spawnNode(new URL(program, EXAMPLE), [], environment)
  started.push(node)
  const [, port] = await node.waitForLine(/the bot listens on port (\d+)/, 60_000)
  return { node, webhook: `http://127.0.0.1:${port}/webhook` }
}

/** Delivers a message as Gowa does; resolves to its answer. */
async function deliver({ webhook }: Bot, id: string, secret = WEBHOOK_SECRET): Promise<Response> {
  const payload = { id, chat_id: PROSPECT, from: PROSPECT, is_from_me: false, body: 'How much is it?' }
  const body = JSON.stringify({ event: 'message', device_id: DEVICE, payload })
  const signature = `sha256=${createHmac('sha256', secret).update(body).digest('hex')}`
  const headers = { 'Content-Type': 'application/json', 'X-Hub-Signature-256': signature }
  const response = await fetch(webhook, { method: 'POST', headers, body })
  await response.arrayBuffer()
  return response
}

/** Delivers it again until the answer is 200. */
async function deliverUntilAccepted(bot: Bot, id: string): Promise<void> {
  while ((await deliver(bot, id)).status !== 200);
}

async function rowsOf(statement: string, values: string[] = []): Promise<RowDataPacket[]> {
  return (await database.execute<RowDataPacket[]>(statement, values))[0]
}

async function adopt(command: string, more: Record<string, string> = {}) {
  const environment = { DATABASE_URL, OLD_LOCK_TABLE, STALE_AFTER_MS: String(STALE_AFTER_MS), ...more }
  const node = spawnNode(new URL('adopt.mjs', EXAMPLE), [command], environment)
  started.push(node)
  const { code } = await node.exited
  return { code, said: node.lines.join('\n'), complained: node.stderr() }
}

/** What the show printed: its numbers by their names, in parts that begin with a title each. */
function partsOf(lines: readonly string[]): Array<Map<string, number>> {
  const parts: Array<Map<string, number>> = []
  for (const [at, line] of lines.entries()) {
    if (at === 0 || lines[at - 1] === '') parts.push(new Map())
    const [, name, number] = /^\s+(.*?)\s+(\d+)$/.exec(line) ?? []
    if (name !== undefined) parts.at(-1)?.set(name, Number(number))
  }
  return parts.filter((part) => part.size > 0)
}

test('the show: the old way fails, session-lock does not, and the change from one to the other loses nothing', {
  timeout: 200_000,
}, async () => {
  const show = spawnNode(new URL('main.mjs', EXAMPLE), [], { DATABASE_URL })
  started.push(show)
  const ended = await show.exited
  const output = `${show.lines.join('\n')}\n${show.stderr()}`
  const [oldWay, sessionLock, killed, changeOver] = partsOf(show.lines)

  expect(oldWay?.get('answered more than once'), output).toBeGreaterThan(0)
  expect(oldWay?.get('handlers that began beside another one of their prospect')).toBeGreaterThan(0)

  const kept = { 'answered more than once': 0, 'never answered': 0 }
  const alone = { 'handlers that began beside another one of their prospect': 0 }
  expect(Object.fromEntries(sessionLock ?? []), output).toMatchObject({
    ...kept,
    ...alone,
    messages: 125,
    'answered once': 125,
    'prospects in hand at the same instant': 100,
    'rows in whatsapp_bot_sessions at that instant': 100,
    'rows in whatsapp_bot_sessions afterwards': 0,
  })
  expect(sessionLock?.get('lines BLOCKING DUPLICATE in the logs')).toBeGreaterThan(0)

  expect(killed?.get('times another bot was given the message before, and answered 409'), output).toBeGreaterThan(0)
  expect(Object.fromEntries(killed ?? [])).toMatchObject({
    'takeovers once the lease was stale': 1,
    'answered once': 1,
  })

  expect(Object.fromEntries(changeOver ?? []), output).toMatchObject({ ...kept, ...alone })
  expect(changeOver?.get('answered once')).toBe(changeOver?.get('messages'))
  expect(changeOver?.get('sessions in the hands of old bots when the new ones came')).toBeGreaterThanOrEqual(6)
  expect(changeOver?.get('refused by a new bot while an old one had the session')).toBeGreaterThan(0)
  expect(changeOver?.get('recognised by a new bot as answered by an old one')).toBeGreaterThan(0)
  expect(ended, output).toEqual({ code: 0, signal: null })
})

describe('the bot', { timeout: LONG_MS }, () => {
  test('holds a row with prospect and device while it answers, and none when it is idle', async () => {
    const bot = await startBot('bot.mjs')
    const statement = 'SELECT id_prospect, id_device FROM whatsapp_bot_sessions'
    const delivery = deliver(bot, 'M1')
    await standIn.waitUntilAsked('M1')
    expect(await rowsOf(statement)).toEqual([{ id_prospect: PROSPECT, id_device: DEVICE }])
    standIn.answer('M1')
    expect((await delivery).status).toBe(200)
    await expect.poll(() => rowsOf(statement)).toEqual([])
  })

  test('lets a copy wait for its turn, on another process, and answers the message once', async () => {
    const [one, other] = await Promise.all([startBot('bot.mjs'), startBot('bot.mjs')])
    const delivery = deliver(one, 'M1')
    await standIn.waitUntilAsked('M1')
    const tooEarly = await deliver(other, 'M1')
    expect([tooEarly.status, tooEarly.headers.get('session-lock')]).toEqual([409, 'in-flight'])
    await other.node.waitForLine(/already locked — BLOCKING DUPLICATE/)
    standIn.answer('M1')
    expect((await delivery).status).toBe(200)
    const late = await deliver(other, 'M1')
    expect([late.status, late.headers.get('session-lock')]).toEqual([200, 'duplicate'])
    expect(standIn.replied).toEqual(['M1'])
  })

  test('finishes what it has in hand before it ends', async () => {
    const bot = await startBot('bot.mjs')
    const delivery = deliver(bot, 'M1')
    await standIn.waitUntilAsked('M1')
    bot.node.kill('SIGTERM')
    await bot.node.waitForLine(/the bot is shutting down/)
    standIn.answer('M1')
    expect((await delivery).status).toBe(200)
    expect(await bot.node.exited).toEqual({ code: 0, signal: null })
  })

  test('refuses a delivery that is signed with another secret', async () => {
    const bot = await startBot('bot.mjs')
    expect((await deliver(bot, 'M1', 'a guess')).status).toBe(401)
    expect(standIn.asked).toEqual([])
  })

  test('says which setting is missing', async () => {
    const environment = { ...standIn.environment, DATABASE_URL, WEBHOOK_SECRET: '' }
    const bot = spawnNode(new URL('bot.mjs', EXAMPLE), [], environment)
    expect(await bot.exited).toEqual({ code: 1, signal: null })
    expect(bot.stderr()).toContain('WEBHOOK_SECRET is not set. Set it to what Gowa signs its deliveries with')
  })
})

describe('adopting the old table', { timeout: LONG_MS }, () => {
  const TAKE = `INSERT INTO ${OLD_LOCK_TABLE} (id_prospect, id_device, timestamp) VALUES (?, ?, ?)
    ON DUPLICATE KEY UPDATE timestamp = VALUES(timestamp)`
  const take = (timestamp: string) => database.execute(TAKE, [PROSPECT, DEVICE, timestamp])
  const nowAsText = () => new Date().toISOString().slice(0, 19).replace('T', ' ')
  const startOldBot = () => startBot('old-way.mjs', { STALE_AFTER_MS: String(STALE_AFTER_MS) })
  const startBridgedBot = () => startBot('bot.mjs', { OLD_LOCK_TABLE })

  test('a new bot does not start before the old ones are prepared', async () => {
    await startOldBot()
    const environment = { ...standIn.environment, DATABASE_URL, WEBHOOK_SECRET, OLD_LOCK_TABLE }
    const bot = spawnNode(new URL('bot.mjs', EXAMPLE), [], environment)
    expect(await bot.exited).toEqual({ code: 1, signal: null })
    expect(bot.stderr()).toContain('Run "node adopt.mjs prepare" first.')
  })

  test('prepare makes the old statement exclude, and leaves stale rows to whoever comes', async () => {
    await startOldBot()
    await take(nowAsText())
    await take(nowAsText())
    await database.query(`DELETE FROM ${OLD_LOCK_TABLE}`)
    expect(await adopt('prepare', { STALE_AFTER_MS: '1000' })).toMatchObject({ code: 0 })
    await take('2020-01-01 00:00:00')
    await take('2999-01-01 00:00:00')
    await expect(take(nowAsText())).rejects.toThrow('Somebody has this session.')
    await database.query(`DELETE FROM ${OLD_LOCK_TABLE}`)
    await take(nowAsText())
  })

  test('prepare refuses timestamps that it cannot read', async () => {
    await startOldBot()
    await take('yesterday')
    const { code, complained } = await adopt('prepare')
    expect(code).toBe(1)
    expect(complained).toContain('that cannot be read: 1.')
  })

  test('a new bot waits for an old one, and does not answer what that one has answered', {
    timeout: LONG_MS,
  }, async () => {
    const old = await startOldBot()
    await adopt('prepare')
    const bot = await startBridgedBot()
    const delivery = deliver(old, 'M1')
    await standIn.waitUntilAsked('M1')
    expect((await deliver(bot, 'M1')).status).toBe(503)
    expect(await adopt('finish')).toMatchObject({ code: 1, complained: expect.stringContaining('old bots: 1.') })
    standIn.answer('M1')
    expect((await delivery).status).toBe(200)
    await deliverUntilAccepted(bot, 'M1')
    await bot.node.waitForLine(/answered before the session was taken over/)
    // From now on session-lock itself knows it.
    expect((await deliver(bot, 'M1')).headers.get('session-lock')).toBe('duplicate')
    expect([standIn.asked, standIn.replied]).toEqual([['M1'], ['M1']])
    expect(await adopt('finish')).toMatchObject({ code: 0, said: `${OLD_LOCK_TABLE} is gone.` })
  })

  test('what a killed old bot had in hand is taken over once it is stale, and not before', async () => {
    const old = await startOldBot()
    await adopt('prepare')
    const bot = await startBridgedBot()
    const broken = deliver(old, 'M1').catch(() => 'broken')
    await standIn.waitUntilAsked('M1')
    const ofOld = `SELECT timestamp FROM ${OLD_LOCK_TABLE}`
    const takenAt = (await rowsOf(ofOld))[0]?.['timestamp'] as string
    old.node.kill('SIGKILL')
    expect(await broken).toBe('broken')
    const accepted = deliverUntilAccepted(bot, 'M1')
    await standIn.waitUntilAsked('M1', 2)
    const [age] = await rowsOf('SELECT TIMESTAMPDIFF(MICROSECOND, ?, UTC_TIMESTAMP(6)) / 1000 AS ms', [takenAt])
    expect(Number(age?.['ms'])).toBeGreaterThan(STALE_AFTER_MS)
    standIn.answer('M1')
    await accepted
    expect(standIn.replied).toEqual(['M1'])
  })

  test('a session that a new bot has had stays with the new ones, until undo', async () => {
    const old = await startOldBot()
    await adopt('prepare', { STALE_AFTER_MS: '1000' })
    const bot = await startBridgedBot()
    standIn.answer('M1')
    expect((await deliver(bot, 'M1')).status).toBe(200)
    expect((await deliver(old, 'M1')).status).toBe(503)
    expect((await deliver(old, 'M2')).status).toBe(503)
    await expect(database.query(`DELETE FROM ${OLD_LOCK_TABLE}`)).rejects.toThrow('A new bot has this session.')
    expect(await adopt('status')).toMatchObject({ said: expect.stringContaining('Handed over to the new bots: 1.') })
    expect(standIn.asked).toEqual(['M1'])

    bot.node.kill('SIGTERM')
    await bot.node.exited
    expect(await adopt('undo')).toMatchObject({ code: 0 })
    standIn.answer('M2')
    expect((await deliver(old, 'M2')).status).toBe(200)
    expect(standIn.replied).toEqual(['M1', 'M2'])
  })

  test('says what it can do', async () => {
    const { code, complained } = await adopt('everything')
    expect([code, complained]).toEqual([2, 'Say what to do: node adopt.mjs prepare | status | finish | undo\n'])
  })
})
