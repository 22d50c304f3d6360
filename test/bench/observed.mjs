/**
 * What it costs to be watched: how much more CPU time a message takes with metrics, and with metrics and traces, of the
 * time that a whole delivery takes an Express bot over the memory store, where there is least to hide it.
 *
 *   npm run bench:observed
 *
 * It ends with exit code 1 where metrics and traces of 5 % of the requests together take more than 3 %.
 */
import { parseArgs } from 'node:util'
import { startWorker } from './bots.mjs'
import { inWorkshop, median, percentile, printTable, wholeNumber } from './workshop.mjs'

const CONNECTIONS = 64
const SLICES = 10
const MOST_SHARE = 0.03
const MUCH_LONGER_MS = 600_000
const COMPARED = {
  chance: ['plain', 'same'],
  metrics: ['plain', 'metrics'],
  'and 5 % traced': ['plain5', 'traced5'],
  'and all traced': ['plain100', 'traced100'],
}

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '300' } } })
const rounds = wholeNumber(values, 'rounds')

await inWorkshop([], async ({ spawnNode }) => {
  const whole = await wholeDelivery(spawnNode)
  const node = spawnNode(new URL('observed-node.mjs', import.meta.url), [String(rounds)], { NODE_ENV: 'production' })
  const taken = JSON.parse((await node.waitForLine(/^\{.*\}$/, MUCH_LONGER_MS))[0])
  const lines = [['', 'more, in µs', 'quartiles', 'of a delivery']]
  for (const [name, [without, watched]] of Object.entries(COMPARED)) {
    const more = taken[watched].map((micros, round) => micros - taken[without][round])
    const quartiles = [0.25, 0.75].map((share) => percentile(more, share).toFixed(1)).join('–')
    const share = middleMean(more) / whole
    lines.push([name, middleMean(more).toFixed(1), quartiles, `${(share * 100).toFixed(1)} %`])
    if (name === 'and 5 % traced' && share > MOST_SHARE) process.exitCode = 1
  }
  printTable(
    `CPU time of a message, means of the middle half of ${rounds} rounds; a whole delivery: ${whole.toFixed(0)} µs`,
    lines,
  )
})

/**
 * The mean of the middle half. A slice has one garbage collection more than its neighbour or one less, so that the
 * differences stand in two heaps, and which of them the median is in would be chance.
 */
function middleMean(values) {
  const quarter = values.length >> 2
  const middle = values.toSorted((a, b) => a - b).slice(quarter, values.length - quarter)
  return middle.reduce((sum, value) => sum + value, 0) / middle.length
}

/** CPU time in µs, of the process of the bot. */
async function wholeDelivery(spawnNode) {
  const config = { protection: 'session-lock', options: { store: 'memory:', retentionMs: 1000 } }
  const bot = spawnNode(new URL('server.mjs', import.meta.url), [JSON.stringify(config)], { NODE_ENV: 'production' })
  const load = startWorker('load.mjs', [], { spawnNode })
  try {
    const port = Number((await bot.waitForLine(/^listening (\d+)/))[1])
    const cpuMs = async () => (await (await fetch(`http://127.0.0.1:${port}/usage`)).json()).cpuMs
    const taken = []
    for (let slice = 0; slice < SLICES; slice += 1) {
      const before = await cpuMs()
      const { deliveries } = await load.ask({ ports: [port], connections: CONNECTIONS, seconds: 1 }, 60_000)
      // The first ones, until code is compiled, do not count.
      if (slice >= 3) taken.push(((await cpuMs()) - before) / deliveries)
    }
    return median(taken) * 1000
  } finally {
    bot.kill('SIGTERM')
    await Promise.all([bot.exited, load.end()])
  }
}
