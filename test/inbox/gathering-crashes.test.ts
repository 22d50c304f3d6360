/** A node that dies while messages are gathered, or in the middle of the handler that was given them: none is dropped. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { spawnNode } from '../processes/spawn-node.ts'
import { queueStores } from './world.ts'

const FIVE = ['m1', 'm2', 'm3', 'm4', 'm5']

describe.each(queueStores)('$name', ({ options }) => {
  test.each(['while gathering', 'in its handler'] as const)(
    'a node dies %s: the next one is given all five messages in order, and a sixth',
    async (when) => {
      const store = options()
      const journal = join(makeTemporaryDirectory('journal'), 'handled.jsonl')
      const start = async (workMs: number, gatherMs: number) => {
        const inbox = { gatherMs, gatherMaxMs: 20_000, pollMs: 50 }
        const settings = { options: { ...store, staleAfterMs: 1000 }, inbox, workMs, journal }
        const process = spawnNode(new URL('children/node.mjs', import.meta.url), [JSON.stringify(settings)])
        return { process, port: Number((await process.waitForLine(/^listening (\d+)/, 60_000))[1]) }
      }
      const lock = createSessionLock({ ...store, logger: false })
      // Either it is killed before it has gathered, or its handler never ends.
      const dying = await start(60_000, when === 'while gathering' ? 10_000 : 400)
      for (const id of FIVE) {
        await deliver(dying.port, id)
        await sleep(100)
      }
      if (when === 'in its handler') await expect.poll(async () => (await lock.sessions()).length).toBe(1)
      dying.process.kill('SIGKILL')
      await dying.process.exited
      const next = await start(0, 400)
      await deliver(next.port, 'm6')
      const handled = () => (existsSync(journal) ? readFileSync(journal, 'utf8').trim().split('\n') : [])
      const calls = () => handled().map((line) => (JSON.parse(line) as { ids: string[] }).ids)
      await expect.poll(() => calls().flat(), { timeout: 30_000 }).toEqual([...FIVE, 'm6'])
      expect(calls()[0]?.slice(0, 5)).toEqual(FIVE)
      await expect.poll(async () => (await lock.stats()).messages.completed, { timeout: 10_000 }).toBe(6)
      next.process.kill('SIGKILL')
      await next.process.exited
      await lock.close()
    },
    90_000,
  )
})

async function deliver(port: number, id: string): Promise<void> {
  const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages: [{ from: 's1', id }] }
  const entry = [{ id: '2000', changes: [{ field: 'messages', value }] }]
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry })
  const headers = { 'content-type': 'application/json' }
  const post = async () => (await fetch(`http://127.0.0.1:${port}/webhook`, { method: 'POST', headers, body })).status
  // A 503 says: come again.
  await expect.poll(post, { timeout: 20_000 }).toBe(200)
}
