import { findOrInstall } from './find-program.ts'

const HOW_TO_INSTALL = `The tests check metrics and alert rules with "promtool", which was not found. Install it:
  Debian, Ubuntu   sudo apt-get install prometheus
  macOS            brew install prometheus
or put the folder that holds "promtool" on the PATH.`

/**
 * Finds the checker of Prometheus, or installs it. Nobody starts the server that comes with it.
 *
 * @throws Error that says what to install.
 */
export function findOrInstallPromtool(): string {
  return findOrInstall({ names: ['promtool'], aptPackage: 'prometheus', howToInstall: HOW_TO_INSTALL })
}
