import { createHash } from 'node:crypto'
import { symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createConnection } from 'mysql2/promise'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'

const EXAMPLE = new URL('../../examples/file-processor/', import.meta.url)
const DATABASE_URL = process.env['TEST_MYSQL_URL'] as string
/** A node with this PAUSE_MS has its file in hand for as long as the test lasts. */
const FOR_EVER = '600000'

interface Row {
  readonly id: number
  readonly name: string
  readonly status: string
  readonly serverId: string | null
  readonly startedAt: string | null
  readonly tookMs: number | null
  readonly sizeBytes: number | null
  readonly words: number | null
  readonly sha256: string | null
  readonly error: string | null
}

interface FileNode extends NodeProcess {
  readonly url: string
}

let count = 0
let prefix: string
let directory: string
let started: NodeProcess[] = []

beforeEach(() => {
  count += 1
  prefix = `file_processor_${count}_`
  directory = makeTemporaryDirectory('file-processor')
})

afterEach(async () => {
  for (const node of started) node.kill('SIGKILL')
  await Promise.all(started.map((node) => node.exited))
  started = []
})

function spawnFileNode(env: Readonly<Record<string, string>>): NodeProcess {
  const usual = { DATABASE_URL, FILES_DIRECTORY: directory, TABLE_PREFIX: prefix, PORT: '0', POLL_MS: '50' }
  const node = spawnNode(new URL('node.mjs', EXAMPLE), [], { ...usual, ...env })
  started.push(node)
  return node
}

async function startNode(serverId: string, env: Readonly<Record<string, string>> = {}): Promise<FileNode> {
  const node = spawnFileNode({ NODE_ID: serverId, STALE_AFTER_MS: '2000', ...env })
  const port = (await node.waitForLine(/"port":(\d+).*the node listens/))[1]
  return { ...node, url: `http://127.0.0.1:${port}` }
}

function writeFile(name: string, text = 'one two three'): void {
  writeFileSync(join(directory, name), text)
}

async function queue(node: FileNode, name: string): Promise<number> {
  writeFile(name)
  const response = await post(node, '/files', JSON.stringify({ name }))
  expect(response.status).toBe(202)
  return ((await response.json()) as { id: number }).id
}

function post(node: FileNode, path: string, body = '{}'): Promise<Response> {
  return fetch(`${node.url}${path}`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
}

async function get<Answer>(node: FileNode, path: string): Promise<Answer> {
  return (await (await fetch(`${node.url}${path}`)).json()) as Answer
}

/** Who has or had which file, and what came of it, the oldest first. */
async function filesOf(node: FileNode): Promise<string[]> {
  const rows = await get<Row[]>(node, '/files')
  return rows.map(({ name, status, serverId }) => `${name} ${status} ${serverId}`).reverse()
}

test('the old way processes files twice and leaves one stuck, session-lock does neither', async () => {
  const show = spawnNode(new URL('main.mjs', EXAMPLE), [], { DATABASE_URL })
  started.push(show)
  const exit = await show.exited
  const output = show.lines.join('\n')
  expect(exit, `${output}\n${show.stderr()}`).toEqual({ code: 0, signal: null })
  const counts = (what: string) => new RegExp(`${what} +(.+?)  +(.+)`).exec(output)?.slice(1)
  expect(counts('completed')).toEqual(['92 of 92', '92 of 92'])
  for (const what of ['more than once', 'at the same time', 'stuck after the SIGKILL']) {
    const [old, kept] = counts(what) as [string, string]
    expect(Number(old), what).toBeGreaterThan(0)
    expect(kept, what).toBe('0')
  }
  expect(output).toMatch(/doomed\.txt was begun twice.*: (node-\d) was killed[\s\S]* and (?!\1)node-\d processed it/)
  expect(output).toMatch(/node-5 is started, and SIGTERM goes to node-\d/)
  expect(output).toMatch(/'node-5' +│ [1-9]/)
}, 120_000)

test('says which node processed a file, how long it took, and what came of it', async () => {
  const node = await startNode('server-1')
  const text = 'größer  als\ngedacht '.repeat(5000)
  writeFile('big.txt', text)
  expect((await post(node, '/files', '{"name":"big.txt"}')).status).toBe(202)
  await node.waitForLine(/file completed/)
  const [row] = (await get<Row[]>(node, '/files')) as [Row]
  expect(row).toMatchObject({
    name: 'big.txt',
    status: 'completed',
    serverId: 'server-1',
    words: 15_000,
    sizeBytes: Buffer.byteLength(text),
    sha256: createHash('sha256').update(text).digest('hex'),
    error: null,
  })
  expect(Date.parse(row.startedAt as string)).toBeGreaterThan(0)
  expect(row.tookMs).toBeTypeOf('number')
})

test('takes one file at a time, and counts what each node did', async () => {
  const node = await startNode('server-1', { PAUSE_MS: '2000' })
  await queue(node, 'first.txt')
  await node.waitForLine(/file started/)
  await queue(node, 'gone.txt')
  unlinkSync(join(directory, 'gone.txt'))
  expect(await filesOf(node)).toEqual(['first.txt processing server-1', 'gone.txt queued null'])
  await node.waitForLine(/file failed/)
  expect(await filesOf(node)).toEqual(['first.txt completed server-1', 'gone.txt failed server-1'])
  expect(((await get<Row[]>(node, '/files')) as [Row])[0].error).toContain('ENOENT')
  const [stats] = await get<object[]>(node, '/stats')
  expect(stats).toEqual({
    serverId: 'server-1',
    completed: 1,
    failed: 1,
    processing: 0,
    bytes: 13,
    averageMs: expect.any(Number),
  })
})

test('the clean-up puts back what a dead node held, and leaves a living one its file', async () => {
  const dead = await startNode('dead', { PAUSE_MS: FOR_EVER })
  const id = await queue(dead, 'dead.txt')
  await dead.waitForLine(/file started/)
  const slow = await startNode('slow', { PAUSE_MS: FOR_EVER })
  await queue(slow, 'slow.txt')
  await slow.waitForLine(/file started/)
  dead.kill('SIGKILL')
  const cleanUp = async () => (await (await post(slow, '/cleanup')).json()) as { putBack: object[] }
  await expect.poll(async () => (await cleanUp()).putBack).toEqual([{ file: id, heldBy: 'dead' }])
  expect(await filesOf(slow)).toEqual(['dead.txt queued null', 'slow.txt processing slow'])
  expect(await cleanUp()).toEqual({ putBack: [], removed: { messages: 0, sessions: 0 } })
  const next = await startNode('next')
  await next.waitForLine(/file completed/)
  expect(await filesOf(next)).toEqual(['dead.txt completed next', 'slow.txt processing slow'])
})

test('a node takes over what a dead one held without any clean-up', async () => {
  const dead = await startNode('dead', { PAUSE_MS: FOR_EVER })
  await queue(dead, 'dead.txt')
  await dead.waitForLine(/file started/)
  dead.kill('SIGKILL')
  const next = await startNode('next')
  await next.waitForLine(/"takeover":true.*file started/)
  await next.waitForLine(/file completed/)
  expect(await filesOf(next)).toEqual(['dead.txt completed next'])
})

test('a node that stood still writes nothing over the work of the one that took over', async () => {
  const frozen = await startNode('frozen', { PAUSE_MS: '3000' })
  await queue(frozen, 'file.txt')
  await frozen.waitForLine(/file started/)
  frozen.kill('SIGSTOP')
  const next = await startNode('next')
  await next.waitForLine(/file completed/)
  frozen.kill('SIGCONT')
  await frozen.waitForLine(/file given up/)
  expect(await filesOf(next)).toEqual(['file.txt completed next'])
})

test('a result is not written where the row has a larger fencing token', async () => {
  const node = await startNode('server-1', { PAUSE_MS: '2000' })
  await queue(node, 'file.txt')
  await node.waitForLine(/file started/)
  const connection = await createConnection(DATABASE_URL)
  await connection.query('UPDATE ?? SET fencing_token = fencing_token + 1', [`${prefix}files`])
  await connection.end()
  await node.waitForLine(/file given up/)
  expect(node.lines.filter((line) => line.includes('file completed'))).toEqual([])
})

test('after SIGTERM finishes the file in hand, takes no other, and ends; the next node goes on', async () => {
  const old = await startNode('old', { PAUSE_MS: '2000' })
  await queue(old, 'first.txt')
  await old.waitForLine(/file started/)
  await queue(old, 'second.txt')
  old.kill('SIGTERM')
  await old.waitForLine(/draining/)
  await old.waitForLine(/file completed/)
  expect(await old.exited).toEqual({ code: 0, signal: null })
  expect(old.lines.filter((line) => line.includes('file started'))).toHaveLength(1)
  const next = await startNode('next')
  await next.waitForLine(/file completed/)
  expect(await filesOf(next)).toEqual(['first.txt completed old', 'second.txt completed next'])
})

test('keeps development and production apart', async () => {
  const names = [`${prefix}dev_`, `${prefix}prod_`]
  const [dev, prod] = (await Promise.all(
    names.map((name) => startNode('server-1', { TABLE_PREFIX: name, PAUSE_MS: FOR_EVER })),
  )) as [FileNode, FileNode]
  await queue(dev, 'same.txt')
  await dev.waitForLine(/file started/)
  // The same id in both tables: their leases are apart too.
  await queue(prod, 'same.txt')
  await prod.waitForLine(/file started/)
  expect(await filesOf(prod)).toEqual(['same.txt processing server-1'])
  const connection = await createConnection(DATABASE_URL)
  for (const name of names) {
    const [rows] = await connection.query('SELECT node_id FROM ??', [`${name}sessions`])
    expect(rows).toHaveLength(1)
  }
  await connection.end()
})

test('queues only files of its directory', async () => {
  const node = await startNode('server-1')
  for (const name of ['../secret', 'a/b.txt', '.', '..', '', 'nul\0.txt', 7, 'x'.repeat(256)]) {
    expect((await post(node, '/files', JSON.stringify({ name }))).status, String(name)).toBe(400)
  }
  expect((await post(node, '/files', 'no JSON')).status).toBe(400)
  symlinkSync('/etc/hostname', join(directory, 'link.txt'))
  for (const name of ['missing.txt', 'link.txt']) {
    expect((await post(node, '/files', JSON.stringify({ name }))).status, name).toBe(404)
  }
  expect(await filesOf(node)).toEqual([])
})

test('a lease is stale after an hour unless set, and a node is named after its machine and process', async () => {
  const node = spawnFileNode({ NODE_ID: '', STALE_AFTER_MS: '' })
  const [line] = await node.waitForLine(/.*the node listens.*/)
  const { staleAfterMs, serverId } = JSON.parse(line) as { staleAfterMs: number; serverId: string }
  expect(staleAfterMs).toBe(3_600_000)
  expect(serverId).toMatch(new RegExp(`^.+-${node.pid}$`))
})

test('says which setting is missing or wrong', async () => {
  for (const [name, value] of [
    ['DATABASE_URL', ''],
    ['FILES_DIRECTORY', ''],
    ['TABLE_PREFIX', ''],
    ['TABLE_PREFIX', 'dev-'],
    ['STALE_AFTER_MS', 'an hour'],
  ] as const) {
    const node = spawnFileNode({ [name]: value })
    expect(await node.exited, name).toEqual({ code: 1, signal: null })
    expect(node.stderr()).toMatch(new RegExp(`^${name} (is not set|takes)`))
  }
})
