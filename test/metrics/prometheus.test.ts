/** Metrics as Prometheus reads them. */
import { execFileSync } from 'node:child_process'
import { Counter, Registry } from 'prom-client'
import { afterEach, describe, expect, test } from 'vitest'
import { createSessionLock, type SessionLock, StoreError } from '../../src/index.ts'
import { collectMetrics } from '../../src/metrics/prometheus.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { findOrInstallPromtool } from '../servers/find-promtool.ts'
import { sharedStores } from '../stores/shared-stores.ts'

const TABLE_PREFIX = 'metrics_'
/** The bar is 200 series after 100 000 sessions; this many show the same, since each adds none. */
const SESSIONS = 100_000

const locks: SessionLock[] = []
afterEach(async () => void (await Promise.all(locks.splice(0).map((lock) => lock.close()))))

function seriesIn(text: string): string[] {
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
}

function valueIn(text: string, series: string): number {
  const line = seriesIn(text).find((one) => one.startsWith(`${series} `))
  return line === undefined ? Number.NaN : Number(line.slice(series.length + 1))
}

async function everyOutcome(lock: SessionLock): Promise<void> {
  const person = { prospect: 'ada', device: 'bot' }
  await lock.run({ messageId: 'm1', ...person }, async () => {
    await lock
      .claim({ provider: 'generic', messages: [{ id: 'other', prospect: 'bob', device: 'bot' }] })
      .then(async (claimed) => claimed.outcome === 'acquired' && claimed.hold.settle({ status: 'completed' }))
  })
  await lock.run({ messageId: 'm1', ...person }, () => 1)
  await lock.run({ messageId: 'm2', ...person }, () => Promise.reject(new Error('no'))).catch(() => undefined)
}

describe.each(sharedStores)('on $name', ({ url, forget }) => {
  test('every outcome is counted, and promtool has nothing to say', async () => {
    await forget(new Set([TABLE_PREFIX]))
    const lock = createSessionLock({ store: url(), tablePrefix: TABLE_PREFIX, logger: false })
    locks.push(lock)
    const metrics = collectMetrics(lock, { storeEveryMs: 0 })
    await everyOutcome(lock)
    const text = await metrics.text()
    expect(valueIn(text, 'session_lock_claims_total{outcome="acquired",provider="generic"}')).toBe(3)
    expect(valueIn(text, 'session_lock_claims_total{outcome="duplicate",provider="generic"}')).toBe(1)
    expect(valueIn(text, 'session_lock_handled_total{result="completed",provider="generic"}')).toBe(2)
    expect(valueIn(text, 'session_lock_handled_total{result="failed",provider="generic"}')).toBe(1)
    expect(valueIn(text, 'session_lock_messages{status="completed"}')).toBe(2)
    expect(valueIn(text, 'session_lock_messages{status="failed"}')).toBe(1)
    expect(valueIn(text, 'session_lock_sessions{state="live"}')).toBe(0)
    expect(valueIn(text, 'session_lock_store_up')).toBe(1)
    expect(valueIn(text, 'session_lock_store_call_seconds_count{call="claim"}')).toBe(3)
    const said = execFileSync(findOrInstallPromtool(), ['check', 'metrics'], {
      input: text,
      encoding: 'utf8',
      stdio: 'pipe',
    })
    expect(said).toBe('')
    metrics.stop()
    expect(seriesIn(await metrics.text())).toEqual([])
    await forget(new Set([TABLE_PREFIX]))
  }, 120_000)
})

test(`${SESSIONS} sessions add no series: there are fewer than 200`, async () => {
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  locks.push(lock)
  const metrics = collectMetrics(lock)
  for (let at = 0; at < SESSIONS; at += 1000) {
    const deliveries = Array.from({ length: 1000 }, (_, index) => ({
      provider: 'whatsapp-cloud',
      messages: [{ id: `m${at + index}`, prospect: `p${at + index}`, device: 'd' }],
    }))
    await Promise.all(
      deliveries.map(async (delivery) => {
        const claimed = await lock.claim(delivery)
        if (claimed.outcome === 'acquired') await claimed.hold.settle({ status: 'completed' })
      }),
    )
  }
  const text = await metrics.text()
  expect(valueIn(text, 'session_lock_handled_total{result="completed",provider="whatsapp-cloud"}')).toBe(SESSIONS)
  expect(text).not.toContain('p99999')
  console.info(`${seriesIn(text).length} series after ${SESSIONS} sessions`)
  expect(seriesIn(text).length).toBeLessThan(200)
}, 120_000)

test('stopped, it leaves the registry as it was, and can begin there again', async () => {
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  locks.push(lock)
  const registry = new Registry()
  new Counter({ name: 'answers_total', help: 'Answers of the bot.', registers: [registry] }).inc()
  collectMetrics(lock, { registry }).stop()
  expect(seriesIn(await registry.metrics())).toEqual(['answers_total 1'])
  await lock.run({ messageId: 'm' }, () => 1)
  const again = collectMetrics(lock, { registry })
  await lock.run({ messageId: 'm2' }, () => 1)
  expect(valueIn(await again.text(), 'session_lock_claims_total{outcome="acquired",provider="generic"}')).toBe(1)
})

test('what has not happened yet is counted as 0, so that the first time shows', async () => {
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  locks.push(lock)
  const text = await collectMetrics(lock).text()
  for (const loss of ['refused', 'expired', 'max_hold', 'connection']) {
    expect(valueIn(text, `session_lock_leases_lost_total{loss="${loss}"}`)).toBe(0)
  }
  for (const kind of ['unreachable', 'conflict', 'data', 'setup', 'unknown']) {
    expect(valueIn(text, `session_lock_store_errors_total{kind="${kind}"}`)).toBe(0)
  }
})

test('while the store is down nothing is told of what only it knows, neither of old nor made up', async () => {
  let isDown = true
  const inner = memoryStore()
  const stats = () => (isDown ? Promise.reject(new StoreError('unreachable', 'down')) : inner.stats())
  const lock = createSessionLock({ store: { ...inner, stats }, logger: false })
  locks.push(lock)
  const metrics = collectMetrics(lock, { storeEveryMs: 0 })
  const ofStore = async () =>
    seriesIn(await metrics.text()).filter((line) => /^session_lock_(sessions|messages|inbox)/.test(line))
  expect(await ofStore()).toEqual([])
  isDown = false
  await lock.run({ messageId: 'm' }, () => 1)
  expect(await ofStore()).toContain('session_lock_messages{status="completed"} 1')
  isDown = true
  expect(await ofStore()).toEqual([])
})

test('a store that is down is told of, and what this node knows is told all the same', async () => {
  const store = {
    ...memoryStore(),
    stats: () => Promise.reject(new StoreError('unreachable', 'down')),
    claim: () => Promise.reject(new StoreError('unreachable', 'down')),
  }
  const lock = createSessionLock({ store, logger: false })
  const lenient = createSessionLock({ store, onStoreError: 'allow', logger: false })
  locks.push(lock, lenient)
  const metrics = collectMetrics(lock)
  const lenientMetrics = collectMetrics(lenient)
  await expect(lock.run({ messageId: 'm' }, () => 1)).rejects.toThrow(StoreError)
  await lenient.run({ messageId: 'm' }, () => 1)
  expect(valueIn(await lenientMetrics.text(), 'session_lock_unprotected_total')).toBe(1)
  const text = await metrics.text()
  expect(valueIn(text, 'session_lock_store_up')).toBe(0)
  expect(valueIn(text, 'session_lock_store_errors_total{kind="unreachable"}')).toBe(1)
  expect(valueIn(text, 'session_lock_leases_held')).toBe(0)
  expect(valueIn(text, 'session_lock_unprotected_total')).toBe(0)
})
