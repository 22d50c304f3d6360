import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync, realpathSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { aptGet, canInstallWithApt, updateApt } from './apt.ts'

/** The programs that make and run a database of the MySQL family. */
export interface MysqlPrograms {
  readonly kind: 'mariadb' | 'mysql'
  /** `mariadbd` or `mysqld`. */
  readonly server: string
  /** `mariadb-install-db`; MySQL's server does that itself. */
  readonly installDb: string | null
}

const HOW_TO_INSTALL = `The tests need a real MariaDB (10.6 or later) or MySQL (8.0.20 or later) server program; none was found.
Install one (it need not run as a service, the tests start their own on a free port):
  Debian, Ubuntu   sudo apt-get install mariadb-server
  Fedora, RHEL     sudo dnf install mariadb-server
  Alpine           sudo apk add mariadb
  Arch             sudo pacman -S mariadb
  macOS            brew install mariadb
or put the folder that holds "mariadbd" on the PATH.`

/** What to install so that the server and its set-up program are there, and no service is started. */
const APT_PACKAGES = [
  ['mariadb-server-core', 'mariadb-client-core'],
  ['mariadb-server-core-10.6', 'mariadb-client-core-10.6'],
]

/**
 * Finds the server on the PATH and where packages put it; installs it with apt-get where this is
 * root on Debian or Ubuntu.
 *
 * @throws Error that says what to install.
 */
export function findOrInstallMariadb(): MysqlPrograms {
  const found = findPrograms() ?? (installWithApt() ? findPrograms() : undefined)
  if (!found) throw new Error(HOW_TO_INSTALL)
  return found
}

function findPrograms(): MysqlPrograms | undefined {
  const folders = programFolders()
  for (const name of ['mariadbd', 'mysqld']) {
    for (const folder of folders) {
      const server = executable(folder, name)
      if (!server) continue
      if (!/mariadb/i.test(versionOf(server))) return { kind: 'mysql', server, installDb: null }
      const installDb = findInstallDb(server, folders)
      if (installDb) return { kind: 'mariadb', server, installDb }
    }
  }
  return undefined
}

/** Where programs of the MySQL family may be. */
export function programFolders(): string[] {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  const prefixes = ['/usr', '/usr/local', '/usr/local/mysql', '/usr/local/mariadb', '/opt/homebrew', '/opt/local']
  for (const parent of ['/opt/homebrew/opt', '/usr/local/opt', '/home/linuxbrew/.linuxbrew/opt', '/opt']) {
    if (!existsSync(parent)) continue
    for (const name of readdirSync(parent)) if (/^(mariadb|mysql)/.test(name)) prefixes.push(join(parent, name))
  }
  const usual = prefixes.flatMap((prefix) => ['sbin', 'libexec', 'bin', 'scripts'].map((part) => join(prefix, part)))
  return [...new Set([...onPath, ...usual])]
}

/** The set-up program of the same installation comes first: of two installed versions it is the one that fits. */
function findInstallDb(server: string, folders: readonly string[]): string | undefined {
  const prefix = dirname(dirname(realpathSync(server)))
  const candidates = [join(prefix, 'bin'), join(prefix, 'scripts'), ...folders]
  for (const name of ['mariadb-install-db', 'mysql_install_db']) {
    for (const folder of candidates) {
      const found = executable(folder, name)
      if (found) return found
    }
  }
  return undefined
}

/** The program's path, where the folder has it. */
export function executable(folder: string, name: string): string | undefined {
  const path = join(folder, name)
  try {
    accessSync(path, constants.X_OK)
    return path
  } catch {
    return undefined
  }
}

function versionOf(server: string): string {
  try {
    return execFileSync(server, ['--no-defaults', '--version'], { encoding: 'utf8' })
  } catch {
    return ''
  }
}

function installWithApt(): boolean {
  if (!canInstallWithApt()) return false
  updateApt('No MariaDB found: installing its server program with apt-get, once.')
  return APT_PACKAGES.some((packages) => aptGet(['install', '-y', '-q', '--no-install-recommends', ...packages]))
}
