/** The real program, as `npm test` has built it. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'

export const PROGRAM = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

export interface Printed {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs `session-lock` with these words, and no terminal, or with somebody at it who types `answer` when asked. */
export function sessionLock(
  args: readonly string[],
  env: Record<string, string> = {},
  answer?: () => Promise<string>,
): Promise<Printed> {
  const { SESSION_LOCK_URL: _, ...inherited } = process.env
  const options = { env: { ...inherited, ...env }, timeout: 60_000 }
  const terminal = answer ? ['--import=data:text/javascript,process.stdin.isTTY=true'] : []
  return new Promise((resolve, reject) => {
    const child = execFile(process.execPath, [...terminal, PROGRAM, ...args], options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr })
    })
    if (!answer) child.stdin?.end()
    child.stderr?.on('data', (text: string) => {
      if (text.includes('[y/N]')) answer?.().then((typed) => child.stdin?.end(`${typed}\n`), reject)
    })
  })
}
