/** The suite is worth what it catches: stores that break one promise each, and the test that must fail. */
import assert from 'node:assert/strict'
import { test } from 'vitest'
import { storeConformance } from '../../src/testing/index.ts'
import { memoryHandles } from './memory-handles.ts'
import { MUTANTS } from './mutants.ts'

for (const mutant of MUTANTS) {
  test(`the suite catches a store that ${mutant.breaks}`, async () => {
    const tests: Array<{ name: string; run: () => Promise<void> }> = []
    const openStore = memoryHandles(mutant.change)
    storeConformance({ name: 'mutant', test: (name, run) => tests.push({ name, run }), openStore })
    const chosen = tests.filter(({ name }) => name.includes(mutant.caughtBy))
    assert.equal(chosen.length, 1, `${chosen.length} tests are named "${mutant.caughtBy}"`)
    await assert.rejects(chosen[0]?.run() ?? Promise.resolve(), assert.AssertionError)
  })
}
