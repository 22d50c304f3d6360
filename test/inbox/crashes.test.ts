/** Nodes that are killed again and again: what was answered 200 is handled, in the order it came. */
import { randomInt } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createSessionLock, type MessageRow } from '../../src/index.ts'
import { seededRandom } from '../../src/testing/waiting.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'
import { queueStores } from './world.ts'

const MESSAGES = Number(process.env['INBOX_MESSAGES'] ?? 400)
const SESSIONS = Math.max(10, Math.ceil(MESSAGES / 50))
const NODES = 3
const KILL_EVERY_MS = 300

interface Node {
  process: NodeProcess
  port: number
}

test.each(queueStores)(
  '$name: nodes killed every 300 ms lose nothing, and keep the order of each session',
  async ({ options }) => {
    const store = options()
    const journal = join(makeTemporaryDirectory('journal'), 'handled.jsonl')
    const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
    const random = seededRandom(seed)
    const start = async (): Promise<Node> => {
      const settings = { options: { ...store, staleAfterMs: 1000 }, workMs: 5, journal }
      const started = spawnNode(new URL('children/node.mjs', import.meta.url), [
        JSON.stringify({ ...settings, inbox: { concurrency: 20, pollMs: 50, maxAttempts: 1000 } }),
      ])
      return { process: started, port: Number((await started.waitForLine(/^listening (\d+)/, 60_000))[1]) }
    }
    const nodes = await Promise.all(Array.from({ length: NODES }, start))
    let isOver = false
    let kills = 0
    const killing = (async () => {
      while (!isOver) {
        await sleep(KILL_EVERY_MS)
        const place = Math.floor(random() * NODES)
        nodes[place]?.process.kill('SIGKILL')
        kills += 1
        nodes[place] = await start()
      }
    })()

    /** Of one session the next message is sent when the one before was answered. */
    const send = async (session: number) => {
      for (let number = session; number < MESSAGES; number += SESSIONS) await deliver(nodes, session, number, random)
    }
    const lock = createSessionLock({ ...store, logger: false })
    try {
      await Promise.all(Array.from({ length: SESSIONS }, (_, session) => send(session)))
      isOver = true
      await killing
      const completed = async () => (await lock.messages({ status: 'completed', limit: MESSAGES * 2 })).length
      await expect.poll(completed, { timeout: 60_000, interval: 100 }).toBe(MESSAGES)
      expect((await lock.messages({ limit: MESSAGES * 2 })).map((row: MessageRow) => row.status)).toEqual(
        Array.from({ length: MESSAGES }, () => 'completed'),
      )
      judge(journal, kills, seed)
    } finally {
      isOver = true
      await killing.catch(() => undefined)
      for (const { process } of nodes) process.kill('SIGKILL')
      await Promise.all(nodes.map(({ process }) => process.exited))
      await lock.close()
    }
  },
  300_000,
)

async function deliver(nodes: readonly Node[], session: number, number: number, random: () => number): Promise<void> {
  const id = `m${String(number).padStart(6, '0')}`
  const messages = [{ from: `s${session}`, id }]
  const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages }
  const changes = [{ field: 'messages', value }]
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry: [{ id: '2000', changes }] })
  for (;;) {
    const port = nodes[Math.floor(random() * nodes.length)]?.port
    try {
      const headers = { 'content-type': 'application/json' }
      // The port of a killed node can be anybody's by now.
      const signal = AbortSignal.timeout(5000)
      const answer = await fetch(`http://127.0.0.1:${port}/webhook`, { method: 'POST', headers, body, signal })
      if (answer.status === 200) return
    } catch {
      // Killed; another node takes it.
    }
    await sleep(20)
  }
}

function judge(journal: string, kills: number, seed: number): void {
  expect(existsSync(journal)).toBe(true)
  const lines = readFileSync(journal, 'utf8').trim().split('\n')
  const handled = lines.map((line) => JSON.parse(line) as { ids: string[]; session: string; token: number })
  const latest = new Map<string, { id: string; token: number }>()
  let twice = 0
  for (const { ids, session, token } of handled) {
    const [id] = ids as [string]
    const before = latest.get(session)
    if (before && id === before.id) twice += 1
    else if (before) expect(id > before.id, `${session}: ${id} after ${before.id} (seed ${seed})`).toBe(true)
    if (before) expect(token, `${session}: token (seed ${seed})`).toBeGreaterThan(before.token)
    latest.set(session, { id, token })
  }
  expect(new Set(handled.flatMap(({ ids }) => ids)).size).toBe(MESSAGES)
  // A crash between the handler's end and the settlement: at most what one node had in hand.
  expect(twice, `handled twice, with ${kills} kills (seed ${seed})`).toBeLessThanOrEqual(kills * 20)
}
