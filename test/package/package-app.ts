import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { makeTemporaryDirectory } from '../processes/guard.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** An empty app of somebody else's, with the packed package installed. Removed when the test process ends. */
export interface PackageApp {
  readonly directory: string
  /** What the tarball holds, sorted: `dist/index.js`, `package.json` … */
  readonly files: readonly string[]
  /** Writes a file into the app and returns its path; `.mjs` imports, `.cjs` requires the package. */
  readonly write: (name: string, code: string) => string
  /** Writes a script, runs it with Node and returns its standard output. Rejects where it fails. */
  readonly run: (name: string, code: string) => Promise<string>
}

/** What a bot that uses everything has installed beside session-lock. */
const EVERYTHING = ['express', 'mysql2', 'pg', 'ioredis', 'better-sqlite3', '@types']

/**
 * Packs the package as `npm publish` would (`dist/` as it is built now) and installs the tarball into an
 * app of its own. Nothing is downloaded: other packages are links into this repository's `node_modules`.
 *
 * @param beside - the packages installed beside it; unless given, Express, all drivers and their types.
 */
export async function makePackageApp(beside: readonly string[] = EVERYTHING): Promise<PackageApp> {
  const directory = makeTemporaryDirectory('app')
  const modules = join(directory, 'node_modules')
  const installed = join(modules, 'session-lock')
  const tarball = await pack(directory)
  mkdirSync(installed, { recursive: true })
  await run('tar', ['-xzf', tarball.path, '-C', installed, '--strip-components=1'])
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Manifest
  for (const name of [...Object.keys(manifest.dependencies), ...beside]) link(name, modules)
  for (const [command, script] of Object.entries(manifest.bin)) {
    mkdirSync(join(modules, '.bin'), { recursive: true })
    symlinkSync(join(installed, script), join(modules, '.bin', command))
  }

  const write = (name: string, code: string) => {
    const path = join(directory, name)
    writeFileSync(path, code)
    return path
  }
  write('package.json', JSON.stringify({ name: 'app', private: true }))
  return {
    directory,
    files: tarball.files,
    write,
    run: async (name, code) => (await run(process.execPath, [write(name, code)], { cwd: directory })).stdout,
  }
}

interface Manifest {
  readonly dependencies: Record<string, string>
  readonly bin: Record<string, string>
}

async function pack(directory: string): Promise<{ path: string; files: string[] }> {
  // Without scripts: `prepack` would empty dist/ while other tests run from it.
  const args = ['pack', '--ignore-scripts', '--json', '--pack-destination', directory]
  const { stdout } = await run('npm', args, { cwd: ROOT })
  const [packed] = JSON.parse(stdout) as Array<{ filename: string; files: Array<{ path: string }> }>
  if (!packed) throw new Error(`npm pack made nothing: ${stdout}`)
  return { path: join(directory, packed.filename), files: packed.files.map(({ path }) => path).sort() }
}

function link(name: string, modules: string): void {
  const target = join(modules, name)
  mkdirSync(dirname(target), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules', name), target, 'dir')
}
