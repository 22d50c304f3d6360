import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { aptGet, canInstallWithApt, updateApt } from './apt.ts'
import { executable, programFolders } from './find-mariadb.ts'

/** What makes MariaDB servers a cluster. */
export interface GaleraPrograms {
  /** The replication library. */
  readonly provider: string
  /** Folders with the programs that carry one node's data to another. */
  readonly folders: readonly string[]
}

const HOW_TO_INSTALL = `The tests of a cluster need Galera 4 beside MariaDB; not all of it was found.
Install it (it need not run as a service, the tests start their own nodes on free ports):
  Debian, Ubuntu   sudo apt-get install mariadb-server galera-4 mariadb-backup socat iproute2
  Fedora, RHEL     sudo dnf install mariadb-server-galera galera mariadb-backup socat iproute
  Alpine           sudo apk add mariadb-galera galera mariadb-backup socat iproute2
or put "libgalera_smm.so" into /usr/lib/galera, and "wsrep_sst_mariabackup", "mariadb-backup", "socat" and "ss" on the PATH.`

const LIBRARY_FOLDERS = ['galera', 'galera-4', '.'].flatMap((name) =>
  ['/usr/lib', '/usr/lib64', '/usr/local/lib', '/opt/homebrew/lib'].map((folder) => join(folder, name)),
)

/** What state transfer runs. */
const PROGRAMS = [['wsrep_sst_mariabackup'], ['mariadb-backup', 'mariabackup'], ['socat'], ['ss', 'lsof']]

/** The transfer's scripts, out of a package that as a whole would start a service. */
const SCRIPTS = fileURLToPath(new URL('../../node_modules/.cache/session-lock-galera/', import.meta.url))

/**
 * Finds Galera's library and what its state transfer needs; installs them with apt-get where this is
 * root on Debian or Ubuntu.
 *
 * @throws Error that says what to install.
 */
export function findOrInstallGalera(): GaleraPrograms {
  const found = findPrograms() ?? (installWithApt() ? findPrograms() : undefined)
  if (!found) throw new Error(HOW_TO_INSTALL)
  return found
}

function findPrograms(): GaleraPrograms | undefined {
  const provider = LIBRARY_FOLDERS.map((folder) => join(folder, 'libgalera_smm.so')).find(existsSync)
  const everywhere = [...programFolders(), join(SCRIPTS, 'usr/bin')]
  const programs = PROGRAMS.map((names) => firstExecutable(everywhere, names))
  if (provider === undefined || programs.includes(undefined)) return undefined
  const folders = programs.filter((program) => program !== undefined).map(dirname)
  return { provider, folders: [...new Set(folders)] }
}

function firstExecutable(folders: readonly string[], names: readonly string[]): string | undefined {
  return names.flatMap((name) => folders.map((folder) => executable(folder, name))).find((path) => path !== undefined)
}

function installWithApt(): boolean {
  if (!canInstallWithApt()) return false
  updateApt('No Galera found: installing it with apt-get, once.')
  const packages = ['galera-4', 'mariadb-backup', 'socat', 'iproute2']
  if (!aptGet(['install', '-y', '-q', '--no-install-recommends', ...packages])) return false
  mkdirSync(SCRIPTS, { recursive: true })
  if (!aptGet(['download', '-q', 'mariadb-server'], SCRIPTS)) return false
  for (const file of readdirSync(SCRIPTS).filter((name) => name.endsWith('.deb'))) {
    execFileSync('dpkg', ['-x', join(SCRIPTS, file), SCRIPTS])
  }
  return true
}
