/**
 * What it costs to be watched: the throughput of bots with metrics, and with metrics and traces, against one without, in
 * one process and in turn, a second each.
 *
 *   npm run bench:observed
 *   npm run bench:observed -- --rounds 5 --stores memory
 *
 * It ends with exit code 1 where metrics and sampled traces together take more than 3 %.
 */
import { parseArgs } from 'node:util'
import { startWorker } from './bots.mjs'
import { inWorkshop, median, percentile, printTable, wholeNumber } from './workshop.mjs'

const CONNECTIONS = 64
const LEAST_RATIO = 0.97

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '15' },
    stores: { type: 'string', default: 'memory,postgres' },
  },
})
const rounds = wholeNumber(values, 'rounds')

await inWorkshop(values.stores.split(','), async ({ urls, spawnNode }) => {
  const lines = [['', 'deliveries/s', 'metrics', 'metrics, 5 % traced', 'metrics, all traced']]
  for (const [store, url] of Object.entries(urls)) lines.push(await measureStore(store, url, spawnNode))
  printTable(
    `throughput against nothing watched = 1.00, ${CONNECTIONS} connections, medians of ${rounds} rounds`,
    lines,
  )
})

async function measureStore(name, store, spawnNode) {
  const options = { store, tablePrefix: 'bench_observed_', ...(name === 'memory' && { retentionMs: 1000 }) }
  const script = new URL('observed-node.mjs', import.meta.url)
  const node = spawnNode(script, [JSON.stringify({ options })], { NODE_ENV: 'production' })
  const load = startWorker('load.mjs', [], { spawnNode })
  try {
    const ports = JSON.parse((await node.waitForLine(/^listening (.*)$/))[1])
    const rate = async (port) => {
      const { deliveries, seconds } = await load.ask({ ports: [port], connections: CONNECTIONS, seconds: 1 }, 60_000)
      return deliveries / seconds
    }
    for (const port of Object.values(ports)) await rate(port)
    const plain = []
    const ratios = { metrics: [], sampled: [], traced: [] }
    for (let round = 0; round < rounds; round += 1) {
      process.stderr.write(`${name}: round ${round + 1} of ${rounds}\n`)
      for (const [watched, list] of Object.entries(ratios)) {
        // Before and after, so that what changes in the meantime weighs on both.
        const before = await rate(ports.plain)
        const between = await rate(ports[watched])
        const after = await rate(ports.plain)
        plain.push(before, after)
        list.push((2 * between) / (before + after))
      }
    }
    if (median(ratios.sampled) < LEAST_RATIO) process.exitCode = 1
    return [name, median(plain).toFixed(0), ...Object.values(ratios).map(withSpread)]
  } finally {
    node.kill('SIGKILL')
    await Promise.all([node.exited, load.end()])
  }
}

function withSpread(ratios) {
  const at = (share) => percentile(ratios, share).toFixed(2)
  return `${median(ratios).toFixed(3)} (${at(0.1)}–${at(0.9)})`
}
