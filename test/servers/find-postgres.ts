import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'

/** The programs that make and run a Postgres database. */
export interface PostgresPrograms {
  readonly server: string
  readonly initdb: string
}

const HOW_TO_INSTALL = `The tests need a real Postgres (12 or later) server program; none was found.
Install one (it need not run as a service, the tests start their own on a free port):
  Debian, Ubuntu   sudo apt-get install postgresql
  Fedora, RHEL     sudo dnf install postgresql-server
  Alpine           sudo apk add postgresql
  Arch             sudo pacman -S postgresql
  macOS            brew install postgresql
or put the folder that holds "postgres" and "initdb" on the PATH.`

/**
 * Finds the server on the PATH and where packages put it; installs it with apt-get where this is
 * root on Debian or Ubuntu.
 *
 * @throws Error that says what to install.
 */
export function findOrInstallPostgres(): PostgresPrograms {
  const found = findPrograms() ?? (installWithApt() ? findPrograms() : undefined)
  if (!found) throw new Error(HOW_TO_INSTALL)
  return found
}

/** Both of one folder: the two have to be of one version. */
function findPrograms(): PostgresPrograms | undefined {
  for (const folder of programFolders()) {
    const [server, initdb] = [executable(folder, 'postgres'), executable(folder, 'initdb')]
    if (server && initdb) return { server, initdb }
  }
  return undefined
}

function programFolders(): string[] {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  const parents = ['/usr/lib/postgresql', '/usr/libexec', '/usr', '/opt/homebrew/opt', '/usr/local/opt', '/usr/local']
  const installed = parents.flatMap((parent) => {
    if (!existsSync(parent)) return []
    const names = readdirSync(parent).filter((name) => /^(\d+|(postgresql|pgsql).*)$/.test(name))
    return names.sort((a, b) => b.localeCompare(a, 'en', { numeric: true })).map((name) => join(parent, name, 'bin'))
  })
  return [...new Set([...onPath, ...installed])]
}

function executable(folder: string, name: string): string | undefined {
  const path = join(folder, name)
  try {
    accessSync(path, constants.X_OK)
    return path
  } catch {
    return undefined
  }
}

/** Without a cluster of the package's own: that would start a service. */
function installWithApt(): boolean {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get') || !existsSync('/etc/debian_version')) return false
  process.stderr.write('No Postgres found: installing its server program with apt-get, once.\n')
  const script = `apt-get update -q || true
    apt-get install -y -q --no-install-recommends postgresql-common
    sed -i 's/^#* *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    apt-get install -y -q --no-install-recommends postgresql`
  try {
    execFileSync('sh', ['-ec', script], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    return true
  } catch {
    return false
  }
}
