/** A session that several processes want all the time changes hands: none of them keeps it to itself. */
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'
import { sharedStores } from '../stores/shared-stores.ts'

const NODE = new URL('../bench/handover-node.mjs', import.meta.url)
const TURNS = 100
/** Long beside the moment between two turns: who only happens to ask in that moment seldom gets one. */
const HOLD_MS = 20

/** When each of its handlers ran. */
function turnsOf(node: NodeProcess): Array<[from: number, until: number]> {
  const turns = node.lines.map((line) => /^turn (\S+) (\S+)$/.exec(line))
  return turns.flatMap((turn) => (turn ? [[Number(turn[1]), Number(turn[2])]] : []))
}

describe.each(sharedStores)('$name', ({ url, forget }) => {
  // One waiter: the line of its process is empty between its turns.
  test.each([1, 4])(
    'two processes with %i steady waiters each: both get a third of the turns, or nearly',
    async (waiters) => {
      const tablePrefix = `t${randomBytes(6).toString('hex')}_`
      const nodes = ['a', 'b'].map((nodeId) => spawnNode(NODE, [JSON.stringify({ store: url(), tablePrefix, nodeId })]))
      try {
        await Promise.all(nodes.map((node) => node.waitForLine(/^ready$/)))
        for (const node of nodes) node.send(JSON.stringify({ waiters, holdMs: HOLD_MS }))
        const all = () => nodes.flatMap(turnsOf).sort(([a], [b]) => a - b)
        await expect.poll(() => all().length, { timeout: 50_000 }).toBeGreaterThanOrEqual(TURNS)
        const had = nodes.map((node) => turnsOf(node).length)
        expect(Math.min(...had) / all().length).toBeGreaterThanOrEqual(0.3)
        let lastUntil = 0
        for (const [from, until] of all()) {
          expect(from).toBeGreaterThanOrEqual(lastUntil)
          lastUntil = until
        }
      } finally {
        for (const node of nodes) node.kill('SIGKILL')
        await Promise.all(nodes.map((node) => node.exited))
        await forget(new Set([tablePrefix]))
      }
    },
    60_000,
  )
})
