/** Many nodes, in virtual time: no promise is broken, and each way to break the engine is noticed. */
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { breakEngine, MUTATIONS } from './mutations.ts'

const DELIVERIES = Number(process.env['SIMULATED_DELIVERIES'] ?? 1_000_000)
/** Side by side. */
const RUNS = 2
const CAUGHT_WITHIN = 100_000
/** The rarest needs 80 000 from here. Where a change of the engine moves it beyond, another one will do. */
const CAUGHT_FROM = 1_000_000

const directory = makeTemporaryDirectory('simulation')
afterAll(() => removeTemporaryDirectory(directory))

interface Simulated {
  readonly seed: number
  readonly deliveries: number
  readonly violation?: string
  readonly episode?: number
}

const main = fileURLToPath(new URL('main.mjs', import.meta.url))

function simulate(...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [main, ...args], { maxBuffer: 2 ** 28 }, (error, stdout, stderr) => {
      // Exit code 1: a promise was broken.
      if (error && error.code !== 1) reject(new Error(stderr || String(error)))
      else resolve(stdout)
    })
  })
}

async function simulated(...args: string[]): Promise<Simulated> {
  return JSON.parse(await simulate('--json', ...args)) as Simulated
}

test(`${DELIVERIES} deliveries to nodes that crash, hang, lose answers and are cut off: no promise is broken`, async () => {
  const seed = Number(process.env['SEED'] ?? randomInt(2 ** 30))
  const each = String(Math.ceil(DELIVERIES / RUNS))
  const runs = await Promise.all(
    Array.from({ length: RUNS }, (_, run) => simulated('--deliveries', each, '--seed', String(seed + run * 1_000_000))),
  )
  console.info(`simulated ${runs.map((run) => run.deliveries).join(' + ')} deliveries (SEED=${seed})`)
  for (const { violation, episode } of runs) {
    expect(violation, `see it by: npm run simulate -- --episode ${episode}`).toBeUndefined()
  }
}, 900_000)

test('an episode can be played again, event by event', async () => {
  const [first, second] = await Promise.all([simulate('--episode', '4'), simulate('--episode', '4')])
  expect(first.split('\n').length).toBeGreaterThan(500)
  expect(second).toBe(first)
})

test.each(MUTATIONS)(
  'is noticed: $breaks',
  async (mutation) => {
    const build = await breakEngine(join(directory, String(MUTATIONS.indexOf(mutation))), mutation)
    const limits = ['--deliveries', String(CAUGHT_WITHIN), '--seed', String(CAUGHT_FROM)]
    const found = await simulated('--engine', build, ...limits)
    expect(found.violation).toBeDefined()
    // The seed of a failure replays it.
    expect(await simulate('--engine', build, '--episode', String(found.episode))).toContain(`breaks ${found.violation}`)
  },
  120_000,
)
