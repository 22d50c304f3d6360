/** The suite is worth what it catches: stores that break one promise each, and the test that must fail. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { afterAll, test, vi } from 'vitest'
import { sqliteStore } from '../../src/store/sqlite.ts'
import type { StoreSettings } from '../../src/store/store.ts'
import { type ConformanceOptions, storeConformance } from '../../src/testing/index.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { memoryHandles } from './memory-handles.ts'
import { MUTANTS, type Mutant } from './mutants.ts'
import { QUEUE_MUTANTS } from './queue-mutants.ts'

vi.setConfig({ testTimeout: 60_000 })

const directory = makeTemporaryDirectory('conformance-catches')
afterAll(() => removeTemporaryDirectory(directory))

for (const mutant of MUTANTS) {
  test(nameOf(mutant), () => assertCaught(mutant, { openStore: memoryHandles(mutant.change) }))
}

for (const mutant of QUEUE_MUTANTS) {
  const openStore = async (settings: StoreSettings) =>
    mutant.change(await sqliteStore(join(directory, `${settings.tablePrefix}.db`), settings))
  // Some are caught by a check that waits in vain: let the others go on meanwhile.
  test.concurrent(nameOf(mutant), () => assertCaught(mutant, { openStore, queue: true }))
}

function nameOf({ breaks }: Mutant): string {
  return `the suite catches a store that ${breaks}`
}

async function assertCaught(
  { caughtBy }: Mutant,
  options: Pick<ConformanceOptions, 'openStore' | 'queue'>,
): Promise<void> {
  const tests: Array<{ name: string; run: () => Promise<void> }> = []
  storeConformance({ name: 'mutant', test: (name, run) => tests.push({ name, run }), ...options })
  const chosen = tests.filter(({ name }) => name.includes(caughtBy))
  assert.equal(chosen.length, 1, `${chosen.length} tests are named "${caughtBy}"`)
  await assert.rejects(chosen[0]?.run() ?? Promise.resolve(), assert.AssertionError)
}
