/** Nodes of a bot that are killed, one every 300 ms, and started anew. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'

const KILL_EVERY_MS = 300

export interface DyingNodes {
  /** The port of some node; it may be dead by the time it is asked. */
  port(): number | undefined
  kills(): number
  /** No more kills: resolves when all nodes stand. */
  spare(): Promise<void>
  end(): Promise<void>
}

/** `settings`: what `children/node.mjs` takes. */
export async function startDyingNodes(count: number, settings: object, random: () => number): Promise<DyingNodes> {
  const start = async () => {
    const started = spawnNode(new URL('children/node.mjs', import.meta.url), [JSON.stringify(settings)])
    return { process: started, port: Number((await started.waitForLine(/^listening (\d+)/, 60_000))[1]) }
  }
  const nodes: Array<{ process: NodeProcess; port: number }> = await Promise.all(Array.from({ length: count }, start))
  let isOver = false
  let kills = 0
  const killing = (async () => {
    while (!isOver) {
      await sleep(KILL_EVERY_MS)
      const place = Math.floor(random() * count)
      nodes[place]?.process.kill('SIGKILL')
      kills += 1
      nodes[place] = await start()
    }
  })()
  const spare = async () => {
    isOver = true
    await killing
  }
  return {
    port: () => nodes[Math.floor(random() * count)]?.port,
    kills: () => kills,
    spare,
    async end() {
      await spare().catch(() => undefined)
      for (const { process } of nodes) process.kill('SIGKILL')
      await Promise.all(nodes.map(({ process }) => process.exited))
    },
  }
}
