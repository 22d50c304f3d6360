/** A store that says nothing: whoever watches is answered in time all the same. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { adminFetch } from '../../src/admin/index.ts'
import { createSessionLock } from '../../src/index.ts'
import { collectMetrics } from '../../src/metrics/prometheus.ts'
import { memoryStore } from '../../src/store/memory.ts'

test('metrics come before Prometheus gives up, and the node is not ready', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const silent = (): Promise<never> => new Promise(() => undefined)
  const lock = createSessionLock({ store: { ...memoryStore(), stats: silent, sessions: silent }, logger: false })
  const admin = adminFetch({ lock, authorize: () => true, metrics: collectMetrics(lock) })
  onTestFinished(() => admin.close())
  const answers: Record<string, Response> = {}
  for (const path of ['/metrics', '/health/ready']) {
    void admin(new Request(`http://bot.example${path}`)).then((answer) => {
      answers[path] = answer
    })
  }
  // Prometheus' own limit, unless told otherwise, is 10 s.
  await vi.advanceTimersByTimeAsync(9000)
  expect(await answers['/metrics']?.text()).toContain('session_lock_store_up 0')
  expect(answers['/health/ready']?.status).toBe(503)
})
