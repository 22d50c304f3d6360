/**
 * What one process keeps of the messages that went through it: the heap of an Express bot after ten thousand of them,
 * and after a million.
 *
 *   npm run bench:heap                                            # 1 000 000 messages for each store: about an hour
 *   npm run bench:heap -- --messages 200000 --stores sqlite
 *
 * Each time garbage is collected first. The memory store is the bot's own heap, so there messages are remembered for
 * a second only. It ends with exit code 1 where the heap has grown by more than the cache of completed messages may
 * take: 10 000 keys, and 4 MB of answers.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { startWorker } from './bots.mjs'
import { inWorkshop, printTable, wholeNumber } from './workshop.mjs'

const FIRST = 10_000
const STEPS = 10
const CONNECTIONS = 64
const MOST_GROWTH_MB = 10
/** Until the last are settled, and forgotten by the memory store, and connections have closed. */
const SETTLING_MS = 3000
const MUCH_LONGER_MS = 3_600_000

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '1000000' },
    stores: { type: 'string', default: 'memory,sqlite,redis,postgres,mysql' },
  },
})
const messages = wholeNumber(values, 'messages')

await inWorkshop(values.stores.split(','), async ({ urls, spawnNode }) => {
  const lines = [['', `after ${FIRST}`, ...Array.from({ length: STEPS }, (_, step) => String(after(step + 1)))]]
  for (const [store, url] of Object.entries(urls)) lines.push(await measureStore(store, url, spawnNode))
  printTable('heap in MB, after so many messages', lines)
})

function after(step) {
  return Math.round((messages / STEPS) * step)
}

async function measureStore(name, store, spawnNode) {
  const options = { store, ...(name === 'memory' && { retentionMs: 1000, cleanupEveryMs: 500 }) }
  const config = JSON.stringify({ protection: 'session-lock', options })
  const bot = spawnNode(new URL('server.mjs', import.meta.url), [config], { NODE_ENV: 'production' })
  const load = startWorker('load.mjs', [], { spawnNode })
  try {
    const port = Number((await bot.waitForLine(/^listening (\d+)/))[1])
    const heaps = []
    let sent = 0
    for (const count of [FIRST, ...Array.from({ length: STEPS }, (_, step) => after(step + 1))]) {
      process.stderr.write(`${name}: until ${count} messages\n`)
      await load.ask({ ports: [port], connections: CONNECTIONS, deliveries: count - sent }, MUCH_LONGER_MS)
      sent = count
      await sleep(SETTLING_MS)
      const { heapMb } = await (await fetch(`http://127.0.0.1:${port}/heap`)).json()
      heaps.push(heapMb)
    }
    if (heaps.at(-1) - heaps[0] > MOST_GROWTH_MB) process.exitCode = 1
    return [name, ...heaps.map((heap) => heap.toFixed(1))]
  } finally {
    bot.kill('SIGTERM')
    await Promise.all([bot.exited, load.end()])
  }
}
