/**
 * Requests that mean harm, through the whole middleware: none is answered by a 500 of ours, none ends the process, none
 * leaves a row that does not belong, and memory does not grow. `FUZZED_REQUESTS=1000000` for a long run, `FUZZ_SEED`
 * repeats one.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, onTestFinished, test } from 'vitest'
import { withSessionLock } from '../../src/http/fetch.ts'
import { createSessionLock, type SessionLock } from '../../src/index.ts'
import { seededRandom } from '../../src/testing/waiting.ts'
import { type Json, mutatedDelivery, pick, type Random } from '../providers/mutated-delivery.ts'
import { HARMFUL } from './harmful.ts'

const REQUESTS = Number(process.env['FUZZED_REQUESTS'] ?? 30_000)
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31)
const AT_ONCE = 40
/** What the decision table says, and the handler's own. */
const ANSWERS = new Set([200, 202, 204, 400, 401, 403, 409, 413, 415, 422, 503])
const STATUSES = new Set(['completed', 'failed'])
const MB = 1024 * 1024

const CONTENT_TYPES = ['application/json', 'application/json', 'text/plain', 'application/x-www-form-urlencoded', '{}']

/** Harmful text in the place of some texts. */
function harmed(random: Random, value: Json): Json {
  if (typeof value === 'string') return random() < 0.15 ? pick(random, HARMFUL) : value
  if (Array.isArray(value)) return value.length > 100 ? value : value.map((item) => harmed(random, item))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([name, field]) => [
    random() < 0.01 ? pick(random, HARMFUL) : name,
    harmed(random, field),
  ])
  return Object.fromEntries(entries)
}

function bytesOf(random: Random, body: unknown): string {
  let text: string
  try {
    text = JSON.stringify(random() < 0.5 ? harmed(random, body as Json) : body) ?? ''
  } catch {
    // Too deep: the sender would have had the same trouble.
    return '['.repeat(100_000)
  }
  const at = Math.floor(random() * text.length)
  if (random() < 0.02) return text.slice(0, at)
  return random() < 0.02 ? text.slice(0, at) + pick(random, HARMFUL) + text.slice(at) : text
}

function requestOf(random: Random): Request {
  const delivery = mutatedDelivery(random)
  const headers = new Headers({ 'content-type': pick(random, CONTENT_TYPES) })
  for (const [name, value] of Object.entries(delivery.headers ?? {})) {
    try {
      headers.set(name, random() < 0.05 ? pick(random, HARMFUL) : String(value))
    } catch {
      // No HTTP client can send that.
    }
  }
  const url = new URL(`http://bot.test/webhook?from=${encodeURIComponent(pick(random, HARMFUL).toWellFormed())}`)
  const method = pick(random, ['POST', 'POST', 'POST', 'POST', 'PUT', 'GET', 'HEAD', 'OPTIONS'])
  const hasBody = method === 'POST' || method === 'PUT'
  return new Request(url, { method, headers, ...(hasBody && { body: bytesOf(random, delivery.body) }) })
}

async function heapAfterCollection(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let time = 0; time < 3; time += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50))
    collect()
  }
  return process.memoryUsage().heapUsed
}

async function expectShapes(lock: SessionLock): Promise<void> {
  // What a body's end settles is on its way still.
  await expect.poll(() => lock.sessions()).toEqual([])
  const rows = await lock.messages({ limit: 100_000 })
  expect(rows.length).toBeGreaterThan(0)
  for (const row of rows) {
    expect(STATUSES).toContain(row.status)
    expect(Buffer.byteLength(row.key)).toBeLessThanOrEqual(255)
    expect(row.key.isWellFormed() && !row.key.includes('\0')).toBe(true)
    expect(row.attempts).toBeGreaterThan(0)
    expect(Number.isSafeInteger(row.fencingToken)).toBe(true)
    expect(row.expiresAt).toBeGreaterThan(0)
  }
}

test(`${REQUESTS} requests that mean harm (seed ${SEED})`, async () => {
  console.info(`attacking with FUZZ_SEED=${SEED}`)
  const random = seededRandom(SEED)
  const lock = createSessionLock({
    store: 'sqlite::memory:',
    retentionMs: 500,
    cleanupEveryMs: 200,
    lockWaitMs: 50,
    logger: false,
  })
  onTestFinished(() => lock.close())
  let handled = 0
  const bot = withSessionLock(lock, async () => {
    handled += 1
    return new Response(null, { status: 200 })
  })
  const answers = new Map<number, number>()
  let heapBefore = 0
  for (let sent = 0; sent < REQUESTS; sent += AT_ONCE) {
    const responses = await Promise.all(Array.from({ length: AT_ONCE }, () => bot(requestOf(random))))
    for (const response of responses) {
      await response.text()
      answers.set(response.status, (answers.get(response.status) ?? 0) + 1)
    }
    if (sent < REQUESTS / 5 && sent + AT_ONCE >= REQUESTS / 5) heapBefore = await heapAfterCollection()
  }
  // Before what came last is forgotten, too.
  await expectShapes(lock)
  const heapAfter = await heapAfterCollection()
  console.info(`answers: ${JSON.stringify([...answers])}; heap ${heapBefore / MB} → ${heapAfter / MB} MB`)
  expect([...answers.keys()].filter((status) => !ANSWERS.has(status))).toEqual([])
  // Attacks that are all turned away at the door would test nothing behind it.
  expect(handled).toBeGreaterThan(REQUESTS / 4)
  // What is remembered of completed messages is bounded, and is full long before the end of a long run.
  expect(heapAfter - heapBefore).toBeLessThan(30 * MB)
  expect(Object.prototype).not.toHaveProperty('polluted')
}, 1_800_000)
