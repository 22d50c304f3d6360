/** The engine that is simulated: the build, or a copy of it that is broken in one place. */
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const BUILD = fileURLToPath(new URL('../../dist', import.meta.url))

/** `directory`: a build's. */
export async function loadEngine(directory = BUILD) {
  const load = (path) => import(pathToFileURL(join(directory, path)).href)
  const files = ['engine/lock.js', 'inbox/index.js', 'store/memory.js', 'store/sqlite.js', 'store/store.js']
  const [{ createLock }, { createInbox }, { memoryStore }, { sqliteStore }, { StoreError }] = await Promise.all(
    files.map((path) => load(path)),
  )
  return { createLock, createInbox, memoryStore, sqliteStore, StoreError }
}
