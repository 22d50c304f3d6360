import { findOrInstall } from './find-program.ts'

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
 * Finds the server, or installs it. The package `redis-server` would start a service; `redis-tools` has the program
 * and starts nothing.
 *
 * @throws Error that says what to install.
 */
export function findOrInstallRedis(): string {
  return findOrInstall({ names: NAMES, aptPackage: 'redis-tools', howToInstall: HOW_TO_INSTALL })
}
