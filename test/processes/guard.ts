import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'

let orders: Writable | undefined

function tellGuard(order: string): void {
  orders ??= startGuard()
  orders.write(`${order}\n`)
}

function startGuard(): Writable {
  const script = fileURLToPath(new URL('guard.mjs', import.meta.url))
  // Detached: Ctrl-C goes to the terminal's whole process group, and the guard has to survive it.
  const guard = spawn(process.execPath, [script], { detached: true, stdio: ['pipe', 'ignore', 'inherit'] })
  guard.unref()
  // Without its guard a test still runs; only the tidying after a crash is lost.
  guard.stdin.on('error', () => {})
  // A test process that is done must not stay alive for the sake of this pipe.
  if ('unref' in guard.stdin && typeof guard.stdin.unref === 'function') guard.stdin.unref()
  return guard.stdin
}

/** From now on the process is killed when this one ends, however it ends. */
export function guardProcess(child: ChildProcess): void {
  if (child.pid === undefined) return
  const { pid } = child
  tellGuard(`process ${pid}`)
  // A pid that is free again may soon be somebody else's.
  child.once('exit', () => tellGuard(`process-ended ${pid}`))
}

/** Makes a directory under the system's temporary one, which is removed when this process ends, however it ends. */
export function makeTemporaryDirectory(name: string): string {
  const path = mkdtempSync(join(tmpdir(), `session-lock-${name}-`))
  tellGuard(`directory ${path}`)
  return path
}

/** Removes a directory made by {@link makeTemporaryDirectory} before its time. */
export async function removeTemporaryDirectory(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
  tellGuard(`directory-removed ${path}`)
}
