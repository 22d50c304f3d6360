/** Nodes of a bot of which one is killed every 300 ms, and started anew. */
import { EventEmitter, once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { type NodeProcess, spawnNode } from './spawn-node.ts'

const KILL_EVERY_MS = 300
/** false: also while one that was killed before is starting still, so that few stand at any time, and runs take long. */
const WAITS = process.env['KILL_PATIENCE'] !== '0'

export interface DyingNodes {
  /** The port of some node that listens, once one does; it may be dead by the time it is asked. */
  port(): Promise<number>
  kills(): number
  /** The process ids of those that were killed. */
  killed(): ReadonlySet<number>
  /** No more kills: resolves when all nodes stand. */
  spare(): Promise<void>
  end(): Promise<void>
}

/**
 * `script`: takes the settings as JSON, and prints `listening <port>`. `spares`: how many more are always being
 * prepared, of a script that takes the setting `waits` and then goes on at a line of input. A spare takes the place of
 * the killed at once, so that the kills need wait for nobody.
 */
export async function startDyingNodes(
  script: URL,
  count: number,
  settings: object,
  random: () => number,
  spares = 0,
): Promise<DyingNodes> {
  const prepare = () => spawnNode(script, [JSON.stringify({ ...settings, waits: spares > 0 })])
  const prepared = Array.from({ length: spares }, prepare)
  const start = async () => {
    prepared.push(prepare())
    const started = prepared.shift() as NodeProcess
    if (spares > 0) started.send('go on')
    return { process: started, port: Number((await started.waitForLine(/^listening (\d+)/, 60_000))[1]) }
  }
  type Node = Awaited<ReturnType<typeof start>>
  /** Those that listen. */
  const nodes = new Set<Node>(await Promise.all(Array.from({ length: count }, start)))
  const starting = new Set<Promise<unknown>>()
  const anyOf = (all: ReadonlySet<Node>) => [...all][Math.floor(random() * all.size)]
  const risen = new EventEmitter().setMaxListeners(0)
  let isOver = false
  const killed = new Set<number>()
  let kills = 0

  /** Whether those that were killed before are up again or not. */
  function killOne(): void {
    const node = anyOf(nodes)
    if (!node) return
    nodes.delete(node)
    node.process.kill('SIGKILL')
    killed.add(node.process.pid)
    kills += 1
    const successor = start().then((another) => {
      nodes.add(another)
      risen.emit('node')
    })
    starting.add(successor)
    void successor.finally(() => starting.delete(successor)).catch(() => undefined)
  }

  const killing = (async () => {
    while (!isOver) {
      await sleep(KILL_EVERY_MS)
      if (WAITS && spares === 0) await Promise.all(starting)
      if (!isOver) killOne()
    }
  })()
  /** Who asks again and again while none stands takes the time that a node needs to start. */
  async function port(): Promise<number> {
    let node = anyOf(nodes)
    while (!node) {
      await once(risen, 'node')
      node = anyOf(nodes)
    }
    return node.port
  }

  const spare = async () => {
    isOver = true
    await killing
    await Promise.all(starting)
  }
  return {
    port,
    kills: () => kills,
    killed: () => killed,
    spare,
    async end() {
      await spare().catch(() => undefined)
      const left = [...prepared, ...[...nodes].map(({ process }) => process)]
      for (const process of left) process.kill('SIGKILL')
      await Promise.all(left.map((process) => process.exited))
    },
  }
}
