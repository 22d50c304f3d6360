/**
 * Outlives the test process that started it, and tidies up after it: what that process started and
 * did not stop is killed, the directories it made are removed. It also works after Ctrl-C and
 * SIGKILL, because it waits for nothing but the end of its standard input.
 *
 * Lines: `process PID`, `process-ended PID`, `directory PATH`, `directory-removed PATH`.
 */
import { rmSync } from 'node:fs'
import { createInterface } from 'node:readline'

const processes = new Set()
const directories = new Set()
const orders = {
  process: (pid) => processes.add(pid),
  'process-ended': (pid) => processes.delete(pid),
  directory: (path) => directories.add(path),
  'directory-removed': (path) => directories.delete(path),
}

for await (const line of createInterface({ input: process.stdin })) {
  const space = line.indexOf(' ')
  orders[line.slice(0, space)]?.(line.slice(space + 1))
}

for (const pid of processes) {
  try {
    process.kill(Number(pid), 'SIGKILL')
  } catch {
    // It has ended by itself meanwhile.
  }
}
for (const path of directories) rmSync(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
