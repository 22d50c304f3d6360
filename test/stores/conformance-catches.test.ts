/** The suite is worth what it catches: stores that break one promise each, and the test that must fail. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { afterAll, test, vi } from 'vitest'
import { sqliteStore } from '../../src/store/sqlite.ts'
import { type ConformanceOptions, storeConformance } from '../../src/testing/index.ts'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { memoryHandles } from './memory-handles.ts'
import { MUTANTS, type Mutant } from './mutants.ts'
import { QUEUE_MUTANTS } from './queue-mutants.ts'

vi.setConfig({ testTimeout: 60_000 })

const directory = makeTemporaryDirectory('conformance-catches')
afterAll(() => removeTemporaryDirectory(directory))

for (const mutant of MUTANTS) {
  testMutant(mutant, { openStore: memoryHandles(mutant.change) })
}

for (const mutant of QUEUE_MUTANTS) {
  testMutant(mutant, {
    queue: true,
    openStore: async (settings) =>
      mutant.change(await sqliteStore(join(directory, `${settings.tablePrefix}.db`), settings)),
  })
}

function testMutant({ breaks, caughtBy }: Mutant, options: Pick<ConformanceOptions, 'openStore' | 'queue'>): void {
  // Some are caught only by a check that waits in vain.
  test.concurrent(`the suite catches a store that ${breaks}`, async () => {
    const tests: Array<{ name: string; run: () => Promise<void> }> = []
    storeConformance({ name: 'mutant', test: (name, run) => tests.push({ name, run }), ...options })
    const chosen = tests.filter(({ name }) => name.includes(caughtBy))
    assert.equal(chosen.length, 1, `${chosen.length} tests are named "${caughtBy}"`)
    await assert.rejects(chosen[0]?.run() ?? Promise.resolve(), assert.AssertionError)
  })
}
