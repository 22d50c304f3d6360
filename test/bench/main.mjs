/**
 * What the lock costs: the same Express app without it (= 1.00) and with it on each store, in one
 * interleaved run, each message of a session of its own.
 *
 *   npm run bench -- --rounds 7 --seconds 5 --connections 256 --stores sqlite,mysql --json results.json
 *
 * MySQL is measured on TEST_MYSQL_URL, or where that is not set on a throwaway server of our own. It ends
 * with exit code 1 where group commit does not show.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createViteServer } from 'vitest/node'
import { measure } from './measure.mjs'
import { print, summarize } from './report.mjs'
import { BARE, variantsOf } from './variants.mjs'

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    connections: { type: 'string', default: '64' },
    stores: { type: 'string', default: 'memory,sqlite,mysql' },
    json: { type: 'string' },
  },
})
const settings = {
  rounds: wholeNumber('rounds'),
  seconds: wholeNumber('seconds'),
  connections: wholeNumber('connections'),
}

// The tools of the tests are TypeScript, which Node 20 does not run by itself.
const vite = await createViteServer({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  configFile: false,
  appType: 'custom',
  logLevel: 'error',
  optimizeDeps: { noDiscovery: true },
  server: { middlewareMode: true, watch: null, ws: false },
})
const { spawnNode } = await vite.ssrLoadModule('/test/processes/spawn-node.ts')
const { makeTemporaryDirectory } = await vite.ssrLoadModule('/test/processes/guard.ts')
const { startMariadb } = await vite.ssrLoadModule('/test/servers/mariadb.ts')

// The test server does not keep this process alive, not even while it is being stopped.
const alive = setInterval(() => {}, 1000)
const stores = values.stores.split(',')
const ownUrl = process.env['TEST_MYSQL_URL']
const mariadb = stores.includes('mysql') && !ownUrl ? await startMariadb() : undefined
try {
  const mysqlUrl = ownUrl ?? mariadb?.url
  const sqliteFile = join(makeTemporaryDirectory('bench'), 'bench.db')
  const variants = [BARE, ...variantsOf(stores, { mysqlUrl, sqliteFile })]
  const rounds = await measure(variants, settings, { spawnNode, mysqlUrl })
  const summary = summarize(variants, rounds)
  if (!print(summary, settings)) process.exitCode = 1
  if (values.json) writeFileSync(values.json, `${JSON.stringify({ settings, summary, rounds }, null, 2)}\n`)
} finally {
  await mariadb?.stop()
  await vite.close()
  clearInterval(alive)
}

function wholeNumber(name) {
  const number = Number(values[name])
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`--${name} takes a whole number of at least 1`)
  return number
}
