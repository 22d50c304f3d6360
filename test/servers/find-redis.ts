import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

const HOW_TO_INSTALL = `The tests need a real Redis (6.2 or later) or Valkey server program; none was found.
Install one (it need not run as a service, the tests start their own on a free port):
  Debian, Ubuntu   sudo apt-get install redis-tools    (it holds the server's program too)
  Fedora, RHEL     sudo dnf install valkey
  Alpine           sudo apk add valkey
  Arch             sudo pacman -S valkey
  macOS            brew install redis
or put the folder that holds "redis-server" on the PATH.`

/** The checker is the server's program by another name: it is the server unless it is called by that name. */
const NAMES = ['redis-server', 'valkey-server', 'redis-check-rdb', 'valkey-check-rdb']

/**
 * Finds the server on the PATH and where packages put it; installs it with apt-get where this is
 * root on Debian or Ubuntu.
 *
 * @throws Error that says what to install.
 */
export function findOrInstallRedis(): string {
  const found = findProgram() ?? (installWithApt() ? findProgram() : undefined)
  if (found === undefined) throw new Error(HOW_TO_INSTALL)
  return found
}

function findProgram(): string | undefined {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  const folders = [...onPath, '/usr/bin', '/usr/sbin', '/usr/local/bin', '/opt/homebrew/bin', '/opt/local/bin']
  const paths = NAMES.flatMap((name) => folders.map((folder) => join(folder, name)))
  return paths.find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** The package `redis-server` would start a service; `redis-tools` has the program and starts nothing. */
function installWithApt(): boolean {
  const isRoot = process.getuid?.() === 0
  if (!isRoot || !existsSync('/usr/bin/apt-get') || !existsSync('/etc/debian_version')) return false
  process.stderr.write('No Redis found: installing its server program with apt-get, once.\n')
  const apt = (...args: string[]) =>
    execFileSync('apt-get', args, {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  try {
    apt('update', '-q')
  } catch {
    // One unreachable source need not matter; the installation decides.
  }
  try {
    apt('install', '-y', '-q', '--no-install-recommends', 'redis-tools')
    return true
  } catch {
    return false
  }
}
