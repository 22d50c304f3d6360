/** Nodes that are killed again and again: what was answered 200 is handled, in the order it came. */
import { randomInt } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createSessionLock, type MessageRow } from '../../src/index.ts'
import { seededRandom } from '../../src/testing/waiting.ts'
import { type DyingNodes, startDyingNodes } from '../processes/dying-nodes.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { queueStores } from './world.ts'

const MESSAGES = Number(process.env['INBOX_MESSAGES'] ?? 400)
const SESSIONS = Math.max(10, Math.ceil(MESSAGES / 50))
const NODES = 4

test.each(queueStores)(
  '$name: nodes killed every 300 ms lose nothing, and keep the order of each session',
  async ({ options }) => {
    const store = options()
    const journal = join(makeTemporaryDirectory('journal'), 'handled.jsonl')
    const seed = Number(process.env['SEED'] ?? randomInt(2 ** 31))
    const random = seededRandom(seed)
    const nodes = await startDyingNodes(
      new URL('children/node.mjs', import.meta.url),
      NODES,
      {
        options: { ...store, staleAfterMs: 1000 },
        inbox: { concurrency: 20, pollMs: 50, maxAttempts: 1000 },
        workMs: 5,
        journal,
      },
      random,
    )

    /** Of one session the next message is sent when the one before was answered. */
    const send = async (session: number) => {
      for (let number = session; number < MESSAGES; number += SESSIONS) await deliver(nodes, session, number)
    }
    const lock = createSessionLock({ ...store, logger: false })
    try {
      await Promise.all(Array.from({ length: SESSIONS }, (_, session) => send(session)))
      await nodes.spare()
      const completed = async () => (await lock.messages({ status: 'completed', limit: MESSAGES * 2 })).length
      await expect.poll(completed, { timeout: 60_000, interval: 100 }).toBe(MESSAGES)
      expect((await lock.messages({ limit: MESSAGES * 2 })).map((row: MessageRow) => row.status)).toEqual(
        Array.from({ length: MESSAGES }, () => 'completed'),
      )
      judge(journal, nodes.kills(), seed)
    } finally {
      await nodes.end()
      await lock.close()
    }
  },
  Math.max(300_000, MESSAGES * 60),
)

async function deliver(nodes: DyingNodes, session: number, number: number): Promise<void> {
  const id = `m${String(number).padStart(6, '0')}`
  const messages = [{ from: `s${session}`, id }]
  const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages }
  const changes = [{ field: 'messages', value }]
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry: [{ id: '2000', changes }] })
  for (;;) {
    const port = await nodes.port()
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
