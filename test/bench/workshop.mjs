/** What the smaller benchmarks share: the tests' own tools, throwaway servers, statistics, and a table for the end. */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createViteServer } from 'vitest/node'

const SERVERS = {
  mysql: ['TEST_MYSQL_URL', '/test/servers/mariadb.ts', 'startMariadb'],
  postgres: ['TEST_POSTGRES_URL', '/test/servers/postgres.ts', 'startPostgres'],
  redis: ['TEST_REDIS_URL', '/test/servers/redis.ts', 'startRedis'],
}

/** The tools of the tests are TypeScript, which Node 20 does not run by itself: load each with `ssrLoadModule`. */
export function openTestTools() {
  return createViteServer({
    root: fileURLToPath(new URL('../..', import.meta.url)),
    configFile: false,
    appType: 'custom',
    logLevel: 'error',
    optimizeDeps: { noDiscovery: true },
    server: { middlewareMode: true, watch: null, ws: false },
  })
}

/**
 * Runs a benchmark with a URL for each store: that of `TEST_MYSQL_URL` and so on, or where that is not set, of a
 * throwaway server.
 *
 * @param stores names out of memory, sqlite, mysql, postgres, redis
 * @param work is given `{ urls, spawnNode, startDyingNodes, makeTemporaryDirectory }`
 */
export async function inWorkshop(stores, work) {
  const vite = await openTestTools()
  // The servers do not keep this process alive, not even while they are being stopped.
  const alive = setInterval(() => {}, 1000)
  const started = []
  try {
    const { makeTemporaryDirectory } = await vite.ssrLoadModule('/test/processes/guard.ts')
    const { spawnNode } = await vite.ssrLoadModule('/test/processes/spawn-node.ts')
    const { startDyingNodes } = await vite.ssrLoadModule('/test/processes/dying-nodes.ts')
    const urls = {}
    for (const store of stores) {
      if (store === 'memory') urls[store] = 'memory:'
      else if (store === 'sqlite') urls[store] = `sqlite:${join(makeTemporaryDirectory('bench'), 'bench.db')}`
      else {
        if (!Object.hasOwn(SERVERS, store)) throw new Error(`--stores takes sqlite, ${Object.keys(SERVERS).join(', ')}`)
        const [variable, file, start] = SERVERS[store]
        if (!process.env[variable]) started.push((await vite.ssrLoadModule(file))[start]())
        urls[store] = process.env[variable] || (await started.at(-1)).url
      }
    }
    return await work({ urls, spawnNode, startDyingNodes, makeTemporaryDirectory })
  } finally {
    for (const server of started) await server.then((each) => each.stop()).catch(() => undefined)
    await vite.close()
    clearInterval(alive)
  }
}

/** The value of an option, as a whole number. */
export function wholeNumber(values, name, least = 1) {
  const number = Number(values[name])
  if (!Number.isSafeInteger(number) || number < least)
    throw new Error(`--${name} takes a whole number of at least ${least}`)
  return number
}

/** The smallest number that this share of them does not exceed. */
export function percentile(numbers, share) {
  const sorted = Float64Array.from(numbers).sort()
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** The middle one, or between the two that are. */
export function median(numbers) {
  const sorted = Float64Array.from(numbers).sort()
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** Prints lines of cells, the first one being the titles. */
export function printTable(title, lines) {
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)))
  const pad = (text, column) => (column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column]))
  console.log(`\n${title}; Node ${process.versions.node}, ${availableParallelism()} cores\n`)
  for (const line of lines) console.log(line.map(pad).join('  '))
}
