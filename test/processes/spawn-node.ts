import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { guardProcess } from './guard.ts'

/** How a process ended: with a code, or by a signal. */
export interface Ending {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A Node process of a test, which talks in lines: standard output comes in, standard input goes out. */
export interface NodeProcess {
  readonly pid: number
  /** Every line of standard output so far. */
  readonly lines: readonly string[]
  /** All of standard error so far. */
  readonly stderr: () => string
  /**
   * The first line of standard output that matches and that no earlier call was given; also one that
   * came before the call. Rejects, with all the process wrote, when it ends or the time is over.
   * `timeoutMs` is 20 000 unless given.
   */
  readonly waitForLine: (pattern: RegExp, timeoutMs?: number) => Promise<RegExpExecArray>
  /** Writes one line to its standard input. */
  readonly send: (line: string) => void
  /** Sends a signal, SIGTERM unless given; any but SIGSTOP and SIGCONT is followed by {@link exited}. */
  readonly kill: (signal?: NodeJS.Signals) => void
  /** Settles when the process has ended and all its output was read. Never rejects. */
  readonly exited: Promise<Ending>
}

const WAIT_FOR_LINE_MS = 20_000

/**
 * Starts a Node process that runs a plain `.mjs` file; such a file imports the package from `dist/`,
 * which `npm test` has built. The process is killed when the test process ends, however it ends.
 *
 * @param file - path or URL of the script: `new URL('children/bot.mjs', import.meta.url)`.
 * @param args - the script's arguments.
 * @param env - added to this process's environment.
 */
export function spawnNode(
  file: string | URL,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): NodeProcess {
  const script = file instanceof URL ? fileURLToPath(file) : file
  const child = spawn(process.execPath, [script, ...args], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  guardProcess(child)
  const lines: string[] = []
  const taken = new Set<number>()
  const lookAgain = new Set<() => void>()
  const errors: string[] = []
  let ending: Ending | undefined

  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line)
    for (const look of lookAgain) look()
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => errors.push(text))
  // Writing to a process that has just been killed is no error of the test.
  child.stdin.on('error', () => {})
  const exited = new Promise<Ending>((resolve) => {
    const end = (code: number | null, signal: NodeJS.Signals | null) => {
      ending = { code, signal }
      for (const look of lookAgain) look()
      resolve(ending)
    }
    child.once('close', end)
    child.once('error', (error) => {
      errors.push(String(error))
      end(null, null)
    })
  })

  function take(pattern: RegExp): RegExpExecArray | undefined {
    for (const [index, line] of lines.entries()) {
      const match = taken.has(index) ? null : new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')).exec(line)
      if (!match) continue
      taken.add(index)
      return match
    }
    return undefined
  }

  function describe(problem: string): Error {
    const output = lines.slice(-50).join('\n')
    return new Error(`${script}: ${problem}\n--- standard output\n${output}\n--- standard error\n${errors.join('')}`)
  }

  function waitForLine(pattern: RegExp, timeoutMs = WAIT_FOR_LINE_MS): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        lookAgain.delete(look)
        reject(describe(`no line like ${pattern} within ${timeoutMs} ms`))
      }, timeoutMs)
      const finish = (act: () => void) => {
        clearTimeout(timer)
        lookAgain.delete(look)
        act()
      }
      const look = () => {
        const match = take(pattern)
        if (match) finish(() => resolve(match))
        else if (ending) finish(() => reject(describe(`ended (${ending?.signal ?? ending?.code}) without ${pattern}`)))
      }
      lookAgain.add(look)
      look()
    })
  }

  return {
    pid: child.pid ?? -1,
    lines,
    stderr: () => errors.join(''),
    waitForLine,
    send: (line) => void child.stdin.write(`${line}\n`),
    kill: (signal = 'SIGTERM') => void child.kill(signal),
    exited,
  }
}
