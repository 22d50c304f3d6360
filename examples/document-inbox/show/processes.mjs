/** The processes of the show: starting, killing, stopping. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const SAYS_WITHIN_MS = 40_000
const STOPS_WITHIN_MS = 15_000
const END_WITH_PARENT = new URL('end-with-parent.mjs', import.meta.url).href

/** All that were started. */
const started = []

/**
 * Starts one of the example's programs, and resolves when it has said that it is ready.
 *
 * @param program - its file: `worker.mjs`
 * @param ready - what it prints then; what the first brackets hold is `said`
 */
export async function startProcess(program, env, ready) {
  const file = fileURLToPath(new URL(`../${program}`, import.meta.url))
  const child = fork(file, {
    env: { ...process.env, ...env },
    execArgv: ['--import', END_WITH_PARENT],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  started.push(child)
  const exited = once(child, 'exit')
  const lines = []
  let look = () => {}
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      lines.push(line)
      look()
    })
  }

  /** What the first brackets hold in the first line that matches; rejects where it prints none. */
  function says(pattern) {
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new Error(`${program} did not print ${pattern}. It wrote:\n${lines.join('\n')}`))
      const limit = setTimeout(giveUp, SAYS_WITHIN_MS)
      look = () => {
        const match = lines.map((line) => pattern.exec(line)).find(Boolean)
        if (!match) return
        clearTimeout(limit)
        resolve(match[1])
      }
      child.once('close', () => {
        clearTimeout(limit)
        giveUp()
      })
      look()
    })
  }

  const said = await says(ready)
  return {
    said,
    says,
    /** How many lines it has printed that match. */
    count: (pattern) => lines.filter((line) => pattern.test(line)).length,
    /** Stops it where it is; `resume` lets it go on. */
    freeze: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
    /** No chance to say goodbye: as when the machine loses power, or memory runs out. */
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    /** Asks it to end by itself. */
    async stop() {
      child.kill('SIGTERM')
      const limit = setTimeout(() => child.kill('SIGKILL'), STOPS_WITHIN_MS)
      await exited
      clearTimeout(limit)
    },
  }
}

/** At once, when the show is interrupted. */
export function abandonProcesses() {
  for (const child of started) child.kill('SIGKILL')
}
