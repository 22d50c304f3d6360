/** The dashboard and the alert rules in `examples/monitoring`. */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { collectMetrics } from '../../src/metrics/prometheus.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { findOrInstallPromtool } from '../servers/find-promtool.ts'

const directory = fileURLToPath(new URL('../../examples/monitoring/', import.meta.url))
const read = (file: string) => readFileSync(`${directory}${file}`, 'utf8')

test('promtool takes the alert rules', () => {
  const said = execFileSync(findOrInstallPromtool(), ['check', 'rules', `${directory}alerts.yml`], { encoding: 'utf8' })
  expect(said).toContain('SUCCESS: 8 rules found')
})

test.each(['alerts.yml', 'grafana-dashboard.json'])('%s asks for nothing but metrics that there are', async (file) => {
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  onTestFinished(() => lock.close())
  const text = await collectMetrics(lock).text()
  const there = new Set([...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name))
  const asked = [...read(file).matchAll(/\bsession_lock_\w+/g)].map(([name]) =>
    name.replace(/_(bucket|sum|count)$/, ''),
  )
  expect(asked.length).toBeGreaterThan(0)
  expect([...new Set(asked)].filter((name) => !there.has(name))).toEqual([])
})

test('the dashboard is one that Grafana can import', () => {
  const { title, panels } = JSON.parse(read('grafana-dashboard.json'))
  expect(title).toBe('session-lock')
  const ids = panels.map(({ id }: { id: number }) => id)
  expect(new Set(ids).size).toBe(ids.length)
})
