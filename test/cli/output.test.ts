/** What is printed arrives as a whole, and the exit code says whether it did. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { guardProcess, makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { PROGRAM } from './program.ts'

const directory = makeTemporaryDirectory('output')
const url = `sqlite:${join(directory, 'bot.db')}`
/** More than a pipe holds. */
const MESSAGES = 1000

beforeAll(async () => {
  const lock = createSessionLock({ store: url, logger: false })
  const handled = Array.from({ length: MESSAGES }, (_, number) =>
    lock.run({ messageId: `m${number}` }, () => undefined),
  )
  await Promise.all(handled)
  await lock.close()
})
afterAll(() => removeTemporaryDirectory(directory))

function start(args: readonly string[], more: readonly string[] = [], stdout: 'pipe' | number = 'pipe') {
  const child = spawn(process.execPath, [...more, PROGRAM, ...args, '--store', url], {
    stdio: ['ignore', stdout, 'pipe'],
  })
  guardProcess(child)
  return child
}

const ALL = ['messages', '--json', '--limit', String(MESSAGES)]

test('whoever reads slowly gets all of it, however late', async () => {
  const child = start(ALL, [`--import=${new URL('children/limit-by-signal.mjs', import.meta.url).href}`])
  const exited = once(child, 'exit')
  const { stdout, stderr } = child
  if (!stdout || !stderr) throw new Error('the program has no pipes')
  await once(stdout, 'readable')
  child.kill('SIGUSR2')
  await once(stderr, 'data')
  expect(JSON.parse(await text(stdout))).toHaveLength(MESSAGES)
  expect(await exited).toEqual([0, null])
})

test('whoever has read enough changes no exit code', async () => {
  const child = start(['doctor', '--table-prefix', 'nothing_'])
  child.stdout?.destroy()
  expect(await once(child, 'exit')).toEqual([3, null])
})

test('output that cannot be written is an error', async () => {
  const full = openSync('/dev/full', 'w')
  const child = start(['migrate', '--print'], [], full)
  closeSync(full)
  const exited = once(child, 'exit')
  if (!child.stderr) throw new Error('the program has no pipe')
  expect(await text(child.stderr)).toMatch(/^session-lock: the output cannot be written \(ENOSPC[^\n]+\n$/)
  expect(await exited).toEqual([1, null])
})
