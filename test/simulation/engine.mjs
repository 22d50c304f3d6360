/** The engine that is simulated: the build, or a copy of it that is broken in one place. */
import { cp, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** `directory`: a build's. */
export async function loadEngine(directory = join(ROOT, 'dist')) {
  const load = (path) => import(pathToFileURL(join(directory, path)).href)
  const [lock, memory, store] = await Promise.all(
    ['engine/lock.js', 'store/memory.js', 'store/store.js'].map((path) => load(path)),
  )
  return { createLock: lock.createLock, memoryStore: memory.memoryStore, StoreError: store.StoreError }
}

/**
 * Copies the build to `directory`, with one text of one file replaced. Rejects where that text is not there exactly once:
 * then the code has changed, and the mutation has to follow it.
 */
export async function breakEngine(directory, { file, from, to }) {
  await cp(join(ROOT, 'dist'), directory, { recursive: true })
  await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
  const path = join(directory, file)
  const source = await readFile(path, 'utf8')
  const found = source.split(from).length - 1
  if (found !== 1) throw new Error(`${file} has this ${found} times, not once: ${from}`)
  await writeFile(path, source.replace(from, () => to))
}
