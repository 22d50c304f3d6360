/** More at once than a slow database can take: what is answered 200 is kept and handled, the rest is sent away, and memory is bounded. */
import { Agent, request } from 'node:http'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { spawnNode } from '../processes/spawn-node.ts'
import { startStoreProxy } from '../stores/store-proxy.ts'
import { queueStores } from './world.ts'

const DELIVERIES = Number(process.env['BURST_DELIVERIES'] ?? 10_000)
const CONNECTIONS = 2000
const DELAY_MS = 50
/** Of the process, whatever comes: most of it is Node itself, and what its garbage collector lets lie. */
const MOST_BYTES = 400 * 1024 * 1024

const remoteStores = queueStores.filter(({ name }) => name !== 'SQLite')

test.each(remoteStores)(
  `$name: ${DELIVERIES} deliveries at once, a database that answers late: 200 or 503, every 200 is handled`,
  async ({ options }) => {
    const store = options()
    const proxy = await startStoreProxy(store.store)
    proxy.delayMs = DELAY_MS
    const node = await startNode({ ...store, store: proxy.url })
    const lock = createSessionLock({ ...store, logger: false })
    try {
      const statuses = await deliverAll(node.port)
      const kept = statuses.get(200) ?? 0
      expect([...statuses.keys()].sort()).toEqual([200, 503])
      expect(kept + (statuses.get(503) ?? 0)).toBe(DELIVERIES)
      expect(kept).toBeGreaterThan(0)
      const completed = async () => (await lock.stats()).messages.completed
      await expect.poll(completed, { timeout: 200_000, interval: 200 }).toBe(kept)
      const { peakBytes } = (await (await fetch(`http://127.0.0.1:${node.port}/memory`)).json()) as {
        peakBytes: number
      }
      expect(peakBytes).toBeLessThan(MOST_BYTES)
    } finally {
      node.process.kill('SIGKILL')
      await node.process.exited
      await proxy.close()
      await lock.close()
    }
  },
  400_000,
)

async function startNode(options: { store: string; tablePrefix: string }) {
  const journal = join(makeTemporaryDirectory('journal'), 'handled.jsonl')
  const settings = { options, inbox: { concurrency: 500, maxInFlight: 500 }, workMs: 0, journal }
  const process = spawnNode(new URL('children/node.mjs', import.meta.url), [JSON.stringify(settings)])
  return { process, port: Number((await process.waitForLine(/^listening (\d+)/, 60_000))[1]) }
}

/** All at once, over as many connections as a process may open; each until it is answered. */
async function deliverAll(port: number): Promise<Map<number, number>> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })
  const statuses = new Map<number, number>()
  const answered = async (number: number): Promise<number> => {
    for (;;) {
      try {
        return await deliver(agent, port, number)
      } catch (error) {
        // Sent down a connection that was being closed behind a 503.
        if ((error as { code?: string }).code !== 'ECONNRESET') throw error
      }
    }
  }
  const all = Array.from({ length: DELIVERIES }, (_, number) => answered(number))
  for (const status of await Promise.all(all)) statuses.set(status, (statuses.get(status) ?? 0) + 1)
  agent.destroy()
  return statuses
}

function deliver(agent: Agent, port: number, number: number): Promise<number> {
  const value = {
    messaging_product: 'whatsapp',
    metadata: { phone_number_id: '1000' },
    messages: [{ from: `s${number % 5000}`, id: `m${number}` }],
  }
  const entry = [{ id: '2000', changes: [{ field: 'messages', value }] }]
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry })
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
    request({ agent, port, host: '127.0.0.1', method: 'POST', path: '/webhook', headers }, (answer) => {
      answer.resume().on('end', () => resolve(answer.statusCode ?? 0))
    })
      .on('error', reject)
      .end(body)
  })
}
