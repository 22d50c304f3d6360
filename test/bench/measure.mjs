/** The run: all servers stand all the time, and take turns under the load. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createConnection } from 'mysql2/promise'

/** A message's settlement is written after its answer; this is ample for the last ones. */
const UNTIL_SETTLED_MS = 200

/** A claim and a settlement. */
const OPERATIONS_PER_DELIVERY = 2

/**
 * Measures every variant once a round, after a round to warm up that does not count.
 *
 * @returns a list of rounds, each a map from the variant's name to what was measured
 * @throws Error where an answer was not 200
 */
export async function measure(variants, { rounds, seconds, connections }, { spawnNode, mysqlUrl }) {
  const load = spawnNode(new URL('load.mjs', import.meta.url))
  const database = variants.some(({ commits }) => commits) ? await createConnection(mysqlUrl) : undefined
  const servers = variants.map((variant) => ({
    ...variant,
    process: spawnNode(new URL('server.mjs', import.meta.url), [JSON.stringify(variant.server)]),
  }))
  try {
    for (const server of servers) server.port = Number((await server.process.waitForLine(/^listening (\d+)/))[1])
    const results = []
    for (let round = 0; round <= rounds; round += 1) {
      process.stderr.write(round === 0 ? 'warming up\n' : `round ${round} of ${rounds}\n`)
      const result = {}
      // Not always the same one after the same: what one leaves to be flushed, the next one suffers.
      for (const server of rotated(servers, round)) {
        result[server.name] = await measureOne(server, { seconds, connections }, load, database)
      }
      if (round > 0) results.push(result)
    }
    return results
  } finally {
    await database?.end()
    for (const { process: server } of servers) server.kill('SIGTERM')
    load.kill('SIGTERM')
    await Promise.all([...servers.map(({ process: server }) => server.exited), load.exited])
  }
}

function rotated(list, by) {
  const at = by % list.length
  return [...list.slice(at), ...list.slice(0, at)]
}

async function measureOne(server, { seconds, connections }, load, database) {
  const before = await countersOf(server, database)
  load.send(JSON.stringify({ port: server.port, connections, seconds }))
  const line = await load.waitForLine(/^\{.*\}$/, seconds * 1000 + 60_000)
  const { deliveries, seconds: took, statuses, p50Ms, p99Ms } = JSON.parse(line[0])
  await sleep(UNTIL_SETTLED_MS)
  const after = await countersOf(server, database)
  if (statuses['200'] !== deliveries) {
    const answers = JSON.stringify(statuses)
    throw new Error(`${server.name}: not every answer was 200: ${answers}\n${server.process.lines.join('\n')}`)
  }
  return {
    deliveriesPerSecond: deliveries / took,
    p50Ms,
    p99Ms,
    cpuMicrosPerDelivery: ((after.cpuMs - before.cpuMs) * 1000) / deliveries,
    ...(server.commits && {
      commitsPerOperation: (after.commits - before.commits) / (deliveries * OPERATIONS_PER_DELIVERY),
    }),
  }
}

async function countersOf({ port, commits }, database) {
  const { cpuMs } = await (await fetch(`http://127.0.0.1:${port}/usage`)).json()
  return { cpuMs, ...(commits && { commits: await countCommits(database) }) }
}

/** COMMIT statements of the whole server: the store's connections commit by nothing else. */
async function countCommits(database) {
  const [rows] = await database.query(`SHOW GLOBAL STATUS LIKE 'Com_commit'`)
  return Number(rows[0].Value)
}
