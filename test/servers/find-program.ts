import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { aptGet, canInstallWithApt, updateApt } from './apt.ts'

/** A program that tests need. */
export interface NeededProgram {
  /** What it may be called; any will do. */
  readonly names: readonly string[]
  /** The package of Debian and Ubuntu that has it. */
  readonly aptPackage: string
  /** What somebody is told who has it not: what is missing, and how to install it. */
  readonly howToInstall: string
}

/**
 * Finds a program on the PATH and where packages put it; installs it with apt-get where this is root on Debian or
 * Ubuntu.
 *
 * @throws Error that says what to install.
 */
export function findOrInstall({ names, aptPackage, howToInstall }: NeededProgram): string {
  const found = findProgram(names) ?? (install(aptPackage) ? findProgram(names) : undefined)
  if (found === undefined) throw new Error(howToInstall)
  return found
}

function findProgram(names: readonly string[]): string | undefined {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => folder !== '')
  const folders = [...onPath, '/usr/bin', '/usr/sbin', '/usr/local/bin', '/opt/homebrew/bin', '/opt/local/bin']
  const paths = names.flatMap((name) => folders.map((folder) => join(folder, name)))
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

function install(aptPackage: string): boolean {
  if (!canInstallWithApt()) return false
  updateApt(`A program of the tests is missing: installing ${aptPackage} with apt-get, once.`)
  return aptGet(['install', '-y', '-q', '--no-install-recommends', aptPackage])
}
