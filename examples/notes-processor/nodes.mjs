/** The show's processes: starting, asking, killing, stopping. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const END_WITH_PARENT = new URL('end-with-parent.mjs', import.meta.url).href

/** Starts a node and waits until it listens, on a port of the system's choice. */
export async function startNode(name, program, environment) {
  const child = fork(fileURLToPath(new URL(program, import.meta.url)), {
    execArgv: ['--import', END_WITH_PARENT],
    env: { ...process.env, ...environment, NODE_ID: name, PORT: '0' },
    stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
  })
  const exited = once(child, 'exit')
  const url = await addressOf(child)
  if (!url) throw new Error(`${program} ended before it listened; what it said is above`)
  return {
    name,
    async post(path) {
      const response = await fetch(`${url}${path}`, { method: 'POST' })
      // The database was too slow for once: whoever asks will ask again.
      if (response.status === 503) return { results: [] }
      if (!response.ok) throw new Error(`${name} answered ${response.status}: ${await response.text()}`)
      return response.json()
    },
    /** No chance to say goodbye: as when the machine loses power, or memory runs out. */
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    async stop() {
      child.kill('SIGTERM')
      await exited
    },
  }
}

/** The address that it says it listens on; undefined where it ends before. What else it says is its log. */
function addressOf(child) {
  return new Promise((resolve) => {
    const lines = createInterface({ input: child.stdout })
    lines.on('line', (line) => {
      const address = /^the app listens on (\S+)$/.exec(line)?.[1]
      if (address) resolve(address)
    })
    lines.once('close', () => resolve(undefined))
  })
}
