import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'

const EXAMPLE = new URL('../../examples/duckdb-app/', import.meta.url)
const VISITS = 50
/** Processes that load DuckDB take their time to start where the machine has much else to do. */
const PATIENCE_MS = 60_000

let env: Record<string, string>
let started: NodeProcess[] = []

beforeEach(() => {
  const directory = makeTemporaryDirectory('duckdb')
  const batches = join(directory, 'batches')
  mkdirSync(batches)
  for (const number of [1, 2]) writeBatch(batches, number)
  env = { DUCKDB_FILE: join(directory, 'app.duckdb'), BATCH_DIR: batches, PORT: '0', STALE_AFTER_MS: '3000' }
})

afterEach(async () => {
  // A process that is stopped is ended all the same.
  for (const program of started) program.kill('SIGKILL')
  await Promise.all(started.map(({ exited }) => exited))
  started = []
})

function writeBatch(directory: string, number: number): void {
  const lines = Array.from({ length: VISITS }, (_, at) => `tea,${at}`)
  writeFileSync(join(directory, `visits-${number}.csv`), `product,seconds\n${lines.join('\n')}\n`)
}

function start(file: string, more: Record<string, string> = {}, args: string[] = []): NodeProcess {
  const program = spawnNode(new URL(file, EXAMPLE), args, { ...env, ...more })
  started.push(program)
  return program
}

async function startWeb(more: Record<string, string> = {}): Promise<{ web: NodeProcess; url: string }> {
  const web = start('web.mjs', more)
  const [, port] = await web.waitForLine(/listens on port (\d+)/, PATIENCE_MS)
  return { web, url: `http://127.0.0.1:${port}` }
}

/** A pipeline that has written its first batch and is not going to commit it for a minute. */
async function startSlowPipeline(): Promise<NodeProcess> {
  const pipeline = start('pipeline.mjs', { THINK_MS: '60000' })
  await pipeline.waitForLine(/^batch visits-1 is written, and not committed yet$/, PATIENCE_MS)
  return pipeline
}

async function startOutsider(): Promise<NodeProcess> {
  const outsider = start('show/outsider.mjs', {}, [env['DUCKDB_FILE'] as string])
  await outsider.waitForLine(/has the file open/, PATIENCE_MS)
  return outsider
}

async function runDoctor(): Promise<{ code: number | null; text: string }> {
  const doctor = start('doctor.mjs')
  const { code } = await doctor.exited
  return { code, text: doctor.lines.join('\n') + doctor.stderr() }
}

function order(url: string, id: string, amount: unknown = 2.5): Promise<Response> {
  const body = JSON.stringify({ id, product: 'tea', amount })
  return fetch(`${url}/orders`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
}

interface Report {
  readonly products: readonly unknown[]
  readonly batches: readonly unknown[]
}

async function report(url: string): Promise<Report> {
  const response = await fetch(`${url}/report`)
  expect(response.status).toBe(200)
  return (await response.json()) as Report
}

test('the show: the old way fails, and the lease keeps every row', { timeout: 240_000 }, async () => {
  const show = start('main.mjs')
  const ending = await show.exited
  const text = show.lines.join('\n')
  expect(ending, text + show.stderr()).toEqual({ code: 0, signal: null })
  const rounds = text.split(/^(?=The old way|With session-lock)/m)
  const [, atStart, inTurn, atOnce, withLease] = rounds.map(
    (round) =>
      new Map([...round.matchAll(/^ {2}(\S.*?) +(\d+)(?: {3}|$)/gm)].map(([, name, count]) => [name, Number(count)])),
  )
  expect(atStart?.get('batches lost')).toBe(4)
  expect(inTurn?.get('openings that failed')).toBeGreaterThan(0)
  expect(inTurn?.get('openings that failed')).toBe(
    (inTurn?.get('orders lost') ?? 0) + (inTurn?.get('batches lost') ?? 0),
  )
  expect(rounds[2]).toMatch(/IO Error: Could not set lock on file .*Conflicting lock is held in .* \(PID \d+\)/)
  expect(atOnce?.get('orders lost in silence')).toBeGreaterThan(0)
  expect(Object.fromEntries(withLease ?? [])).toEqual({
    'openings that failed': 0,
    'orders acknowledged': 26,
    'orders lost': 0,
    'orders lost in silence': 0,
    'batches lost': 0,
    'batches wrong': 0,
  })
  expect(text).toContain('With the lease 0 openings have failed so far.')
  expect(text).toMatch(
    /doctor: process (\d+) \(node pipeline\.mjs\) has app\.duckdb open; the lease duckdb:app\.duckdb is held by node pipeline-\1, for \d+\.\d s\n[\s\S]*SIGKILL to process \1 in the middle/,
  )
  expect(text).toMatch(/The web app took over the lease of pipeline-\d+, .*; 3 of 3 orders were answered 201 then\.$/m)
  expect(text).toContain('In the file are 0 visits of the batch that was cut off.')
  expect(text).toContain('The pipeline has started again: in the file are 200 visits of that batch.')
  expect(text).toMatch(/Openings that failed for it, and were tried again: [1-9]\d*; 3 of 3 orders were answered 201\./)
})

test('two web apps and a pipeline share the file, and nobody finds it open', { timeout: 120_000 }, async () => {
  const [one, two] = await Promise.all([startWeb(), startWeb()])
  const pipeline = start('pipeline.mjs', { THINK_MS: '50' })
  const orders = Array.from({ length: 8 }, (_, at) => order((at % 2 ? one : two).url, `order-${at}`))
  // One that is sent twice counts once.
  orders.push(order(one.url, 'order-0'))
  const statuses = (await Promise.all(orders)).map(({ status }) => status)
  expect(statuses).toEqual(Array(9).fill(201))
  expect(await pipeline.exited).toEqual({ code: 0, signal: null })
  expect(await report(two.url)).toEqual({
    products: [{ product: 'tea', orders: 8, amount: 20, visits: 2 * VISITS }],
    batches: [
      { id: 'visits-1', visits: VISITS },
      { id: 'visits-2', visits: VISITS },
    ],
  })
  const said = [one.web, two.web, pipeline].flatMap(({ lines }) => lines)
  expect(said.filter((line) => line.startsWith('opening failed'))).toEqual([])
})

test('loads a batch once, however often the pipeline is started', { timeout: 120_000 }, async () => {
  const first = start('pipeline.mjs', { THINK_MS: '1' })
  expect(await first.exited).toEqual({ code: 0, signal: null })
  const again = start('pipeline.mjs', { THINK_MS: '1' })
  expect(await again.exited).toEqual({ code: 0, signal: null })
  expect(again.lines).toEqual(['batch visits-1 was loaded before', 'batch visits-2 was loaded before'])
})

test('answers 503 where the lease is not to be had in time', { timeout: 120_000 }, async () => {
  const { url } = await startWeb({ LOCK_WAIT_MS: '100', LOCK_TRIES: '2' })
  await startSlowPipeline()
  const refused = await order(url, 'order-1')
  expect([refused.status, refused.headers.get('Retry-After')]).toEqual([503, '2'])
  expect(await refused.json()).toEqual({ error: 'app.duckdb is busy: others have its lease; doctor.mjs says who' })
})

test('answers 503 and names the process that has the file open without a lease', { timeout: 120_000 }, async () => {
  const { url } = await startWeb()
  const outsider = await startOutsider()
  const refused = await order(url, 'order-1')
  expect([refused.status, refused.headers.get('Retry-After')]).toEqual([503, '2'])
  expect(await refused.json()).toEqual({ error: expect.stringContaining(`(PID ${outsider.pid})`) })

  const { code, text } = await runDoctor()
  expect(code).toBe(3)
  expect(text).toContain(
    `process ${outsider.pid} (node outsider.mjs) has app.duckdb open; the lease duckdb:app.duckdb is held by nobody`,
  )
  expect(text).toContain(`→ Process ${outsider.pid} has the file open without the lease: close it there`)

  outsider.kill('SIGTERM')
  await outsider.exited
  expect((await order(url, 'order-1')).status).toBe(201)
})

test('a pipeline that was stopped for too long gives its batch up', { timeout: 180_000 }, async () => {
  rmSync(join(env['BATCH_DIR'] as string, 'visits-2.csv'))
  const { web, url } = await startWeb()
  const pipeline = await startSlowPipeline()
  pipeline.kill('SIGSTOP')
  await expect
    .poll(runDoctor, { timeout: PATIENCE_MS })
    .toMatchObject({ code: 3, text: expect.stringContaining('is stale') })
  const stale = await runDoctor()
  expect(stale.text).toContain(`process ${pipeline.pid} (node pipeline.mjs) has app.duckdb open`)
  expect(stale.text).toContain(`is held by node pipeline-${pipeline.pid}, for `)
  expect(stale.text).toContain(`(kill -9 ${pipeline.pid})`)

  // The lease is taken over, and the file is still locked: nothing is written beside the one that sleeps.
  const ordering = order(url, 'order-1')
  await web.waitForLine(new RegExp(`^opening failed: .*\\(PID ${pipeline.pid}\\)`), PATIENCE_MS)
  pipeline.kill('SIGCONT')
  await pipeline.waitForLine(/^batch visits-1 was not loaded: session-lock: the lease/, PATIENCE_MS)
  expect(await pipeline.exited).toEqual({ code: 1, signal: null })
  await ordering
  await expect.poll(async () => (await order(url, 'order-1')).status, { timeout: PATIENCE_MS }).toBe(201)
  expect((await report(url)).batches).toEqual([])
  const again = start('pipeline.mjs', { THINK_MS: '1' })
  expect(await again.exited).toEqual({ code: 0, signal: null })
  expect(again.lines).toContain('batch visits-1 is loaded')
})

test('the doctor says where nothing is wrong, and where there is no file', { timeout: 120_000 }, async () => {
  const missing = await runDoctor()
  expect(missing.code).toBe(1)
  expect(missing.text).toContain(`There is no file ${env['DUCKDB_FILE']}`)

  await startWeb()
  const free = await runDoctor()
  expect(free.code).toBe(0)
  expect(free.text).toContain('no process has app.duckdb open; the lease duckdb:app.duckdb is held by nobody')

  const pipeline = await startSlowPipeline()
  pipeline.kill('SIGKILL')
  await pipeline.exited
  const crashed = await runDoctor()
  expect(crashed.code).toBe(0)
  expect(crashed.text).toContain(
    `no process has app.duckdb open; the lease duckdb:app.duckdb is held by node pipeline-${pipeline.pid}`,
  )
})

test('SIGTERM: what is in hand is done to its end', { timeout: 120_000 }, async () => {
  const { web, url } = await startWeb()
  const pipeline = start('pipeline.mjs', { THINK_MS: '500' })
  await pipeline.waitForLine(/^batch visits-1 is written/, PATIENCE_MS)
  pipeline.kill('SIGTERM')
  expect(await pipeline.exited).toEqual({ code: 0, signal: null })
  expect(pipeline.lines.slice(1)).toEqual(['shutting down', 'batch visits-1 is loaded'])

  expect((await order(url, 'order-1')).status).toBe(201)
  web.kill('SIGTERM')
  expect(await web.exited).toEqual({ code: 0, signal: null })
})

test('refuses what is no order', { timeout: 120_000 }, async () => {
  const { url } = await startWeb()
  const wrong = await order(url, 'order-1', 'a lot')
  expect(wrong.status).toBe(400)
  expect(await wrong.json()).toEqual({ error: expect.stringContaining('An order is') })
  const broken = await fetch(`${url}/orders`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: '{',
  })
  expect(broken.status).toBe(400)
  expect((await report(url)).products).toEqual([])
})

test.each([
  ['web.mjs', { DUCKDB_FILE: '' }, 'DUCKDB_FILE is not set'],
  ['web.mjs', { DUCKDB_FILE: '/nowhere/app.duckdb' }, '/nowhere, which does not exist'],
  ['pipeline.mjs', { BATCH_DIR: '' }, 'BATCH_DIR is not set'],
  ['pipeline.mjs', { THINK_MS: 'long' }, 'THINK_MS is "long": give a whole number'],
  ['old-way.mjs', { OPEN: '' }, 'OPEN is not set'],
])('%s says which setting is wrong: %o', { timeout: 120_000 }, async (file, more, problem) => {
  const program = start(file, more)
  expect(await program.exited).toEqual({ code: 1, signal: null })
  expect(program.stderr()).toContain(problem)
})
