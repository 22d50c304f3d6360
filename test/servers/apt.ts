import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'

/** May this process install packages? Only as root, on Debian or Ubuntu. */
export function canInstallWithApt(): boolean {
  return process.getuid?.() === 0 && existsSync('/usr/bin/apt-get') && existsSync('/etc/debian_version')
}

/** Says why on standard error, and reads the lists of packages anew. */
export function updateApt(why: string): void {
  process.stderr.write(`${why}\n`)
  // One unreachable source need not matter; the installation decides.
  aptGet(['update', '-q'])
}

/** Runs apt-get. false: it refused. */
export function aptGet(args: readonly string[], directory?: string): boolean {
  try {
    execFileSync('apt-get', args, {
      cwd: directory,
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    return true
  } catch {
    return false
  }
}
