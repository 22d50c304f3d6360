/** What the suite says, and leaves behind, where a check fails. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { memoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { type ConformanceOptions, storeConformance } from '../../src/testing/index.ts'
import { memoryHandles } from './memory-handles.ts'

/** Runs one check of the suite. */
async function runOne(promise: string, openStore: ConformanceOptions['openStore']): Promise<void> {
  const tests = new Map<string, () => Promise<void>>()
  storeConformance({ name: 'own', test: (name, run) => tests.set(name, run), openStore, seed: 7 })
  await tests.get(`own: ${promise}`)?.()
}

const brokenStore = (): Store => ({ ...memoryStore(), settle: async (items) => items.map(() => 'lost') })

test('the seed is told in the message and in the stack', async () => {
  const failure = runOne('a row without messages is acquired and held too', memoryHandles(brokenStore))
  await expect(failure).rejects.toMatchObject({
    message: expect.stringContaining('(seed 7;'),
    stack: expect.stringContaining('(seed 7;'),
  })
})

test('node:test shows it', async () => {
  const code = `import { test } from 'node:test'
    import { memoryStore } from './dist/store/memory.js'
    import { storeConformance } from './dist/testing/index.js'
    const broken = { ...memoryStore(), settle: async (items) => items.map(() => 'lost') }
    storeConformance({ name: 'own', openStore: async () => broken, seed: 7, test: (name, run) => {
      if (name.includes('a row without messages')) test(name, run)
    } })`
  const args = ['--test-reporter=spec', '--input-type=module', '--eval', code]
  const run = promisify(execFile)(process.execPath, args, { cwd: new URL('../..', import.meta.url) })
  const failure: { stdout: string } = await run.catch((error) => error)
  expect(failure.stdout).toContain('(seed 7;')
})

test('a failure to close does not stand in the place of what failed before, and is told where nothing did', async () => {
  const close = async () => {
    throw new Error('cannot close')
  }
  const promise = 'a row without messages is acquired and held too'
  await expect(runOne(promise, async () => ({ ...brokenStore(), close }))).rejects.toThrow(/seed 7/)
  await expect(runOne(promise, async () => ({ ...memoryStore(), close }))).rejects.toThrow('cannot close')
})

test('a handle that opens after another one could not be opened is closed too', async () => {
  const opened: Store[] = []
  let tries = 0
  const openStore = async () => {
    tries += 1
    if (tries === 1) throw new Error('too many connections')
    await new Promise(setImmediate)
    const store = memoryStore()
    opened.push(store)
    return store
  }
  const promise = 'many handles may migrate at once: each step is applied by one of them'
  await expect(runOne(promise, openStore)).rejects.toThrow('too many connections')
  expect(opened.length).toBe(tries - 1)
  for (const store of opened) await expect(store.stats()).rejects.toThrow('closed')
})
