/** What a server must be like, and the mark that says which layout of keys is there. */

import { NEWER_ADVICE, SchemaError } from './migrate.ts'
import type { Send } from './redis-connection.ts'
import { StoreError } from './store.ts'

/** The layout that these scripts know: what `common.lua` describes. */
const VERSION = 1
const LAYOUT = '0001_keys'

/** Leaves the mark where it is missing. Returns what it applied. */
export async function migrateKeys(send: Send, prefix: string): Promise<string[]> {
  const made = await send('SET', [versionKey(prefix), VERSION, 'NX'])
  if (made !== null) return [LAYOUT]
  await requireLayout(send, prefix)
  return []
}

/** The key of the mark. */
export function versionKey(prefix: string): string {
  return `${prefix}version`
}

/** Throws a {@link StoreError} of kind `setup` unless the mark is there, of the version that this code knows. */
export async function requireLayout(send: Send, prefix: string): Promise<void> {
  const key = versionKey(prefix)
  const found = await send('GET', [key])
  if (found === null) {
    const advice = `Run "session-lock migrate", set the option migrate: 'auto', call lock.migrate(), or by hand: SET ${key} ${VERSION}`
    throw new SchemaError('this Redis holds nothing of session-lock yet', advice)
  }
  if (Number(String(found)) === VERSION) return
  throw new SchemaError(`the keys are of version ${found}, and this release knows version ${VERSION}`, NEWER_ADVICE)
}

/** What a server tells of itself. */
export type Info = ReadonlyMap<string, string>

/** Asks it. */
export async function readInfo(send: Send): Promise<Info> {
  const info = new Map<string, string>()
  for (const line of String(await send('INFO', [])).split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) info.set(line.slice(0, colon), line.slice(colon + 1))
  }
  return info
}

/** Throws a {@link StoreError} of kind `setup` unless the server will do. */
export async function requireServer(send: Send): Promise<Info> {
  const info = await readInfo(send)
  const problem = problemOf(info)
  if (problem !== undefined) throw new StoreError('setup', `session-lock: ${problem}`)
  return info
}

/** Is it a node of a cluster? */
export function isOfCluster(info: Info): boolean {
  return info.get('redis_mode') === 'cluster'
}

function problemOf(info: Info): string | undefined {
  const [major = 0, minor = 0] = (info.get('redis_version') ?? '').split('.').map(Number)
  if (major < 6 || (major === 6 && minor < 2)) {
    return `this Redis is of version ${info.get('redis_version')}; 6.2 or later, or Valkey, is needed`
  }
  const policy = info.get('maxmemory_policy')
  if (info.get('maxmemory') === '0' || policy === 'noeviction') return undefined
  return (
    `this Redis throws keys away when its memory is full (maxmemory-policy ${policy}): a lock that vanishes is none. ` +
    'Set maxmemory-policy noeviction, or use a Redis of its own'
  )
}
