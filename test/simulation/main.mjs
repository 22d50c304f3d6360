/**
 * Simulates deliveries until there are so many, or a promise is broken; then it prints the seed of that episode, the
 * shortest story of it that it finds, and ends with exit code 1.
 *
 *   npm run simulate -- --deliveries 100000 --seed 7     as many episodes as it takes, the first with seed 7
 *   npm run simulate -- --episode 7                      one episode, told
 */
import { parseArgs } from 'node:util'
import { loadEngine } from './engine.mjs'
import { playEpisode } from './episode.mjs'
import { planOf } from './plan.mjs'
import { shrink } from './shrink.mjs'

const { values } = parseArgs({
  options: {
    deliveries: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    episode: { type: 'string' },
    /** The build to simulate. */
    engine: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})
const engine = await loadEngine(values.engine)
if (values.episode === undefined) await simulate(Number(values.seed), Number(values.deliveries))
else await tell(planOf(Number(values.episode)))
// Timers of the episodes' processes, which nobody awaits any more, need not run out.
process.exit()

async function simulate(seed, most) {
  const startedAt = performance.now()
  let deliveries = 0
  let episodes = 0
  let calls = 0
  let violation
  let plan
  while (deliveries < most && !violation) {
    plan = planOf(seed + episodes)
    episodes += 1
    const played = await playEpisode(engine, plan)
    deliveries += played.deliveries
    calls += played.calls
    violation = played.violation
  }
  const seconds = Math.round((performance.now() - startedAt) / 1000)
  const found = violation && { promise: violation.promise, violation: violation.message, episode: plan.seed }
  if (values.json) console.log(JSON.stringify({ seed, deliveries, episodes, calls, seconds, ...found }))
  else
    console.log(
      `${deliveries} deliveries and ${calls} calls of the store, in ${episodes} episodes from seed ${seed}, in ${seconds} s`,
    )
  if (!violation) return
  process.exitCode = 1
  if (!values.json) await tell(await shrink(engine, plan, violation.promise))
}

async function tell(plan) {
  const { violation } = await playEpisode(engine, plan, console.log)
  console.log(violation ? `Episode ${plan.seed} (${plan.kind}) breaks ${violation.message}` : 'No promise was broken.')
  if (violation) process.exitCode = 1
}
