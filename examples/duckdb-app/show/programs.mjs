/** The processes of the show: starting them, hearing what they say, ending them. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** What is waited for has long come by then, or something is wrong. */
const PATIENCE_MS = 30_000
const children = new Set()

/** Starts a program of this example in a process of its own; `words`: its file, and its arguments. */
export function start([file, ...args], env) {
  const script = fileURLToPath(new URL(`../${file}`, import.meta.url))
  const stdio = ['ignore', 'pipe', 'pipe']
  const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, ...env }, stdio })
  children.add(child)
  const lines = []
  const errors = []
  const reader = createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  child.stderr.setEncoding('utf8').on('data', (text) => errors.push(text))
  const exited = once(child, 'close').then(([code]) => {
    children.delete(child)
    return code
  })

  /** The first line that matches, as soon as it is there. */
  async function line(pattern) {
    const signal = AbortSignal.timeout(PATIENCE_MS)
    for (;;) {
      const found = lines.map((text) => pattern.exec(text)).find(Boolean)
      if (found) return found
      const ended = await Promise.race([once(reader, 'line', { signal }), exited])
      if (!Array.isArray(ended))
        throw new Error(`${file} ended with code ${ended} before ${pattern}: ${errors.join('')}`)
    }
  }

  return {
    pid: child.pid,
    lines,
    line,
    /** Settles when it has ended, with its code. */
    exited,
    /** Asks it to end. */
    stop() {
      child.kill('SIGTERM')
      return exited
    },
    /** No chance to say goodbye: as when memory runs out. */
    kill() {
      child.kill('SIGKILL')
      return exited
    },
  }
}

/** The openings that other processes' locks refused, in DuckDB's words. */
export function failedOpenings(...programs) {
  return programs.flatMap(({ lines }) => lines.flatMap((line) => /^opening failed: (.*)/.exec(line)?.[1] ?? []))
}

/** At once, when the show ends in the middle. */
export function killAll() {
  for (const child of children) child.kill('SIGKILL')
}
