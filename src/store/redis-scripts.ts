/** The scripts `sql/redis/*.lua`: each runs as a whole, with nobody in between, and reads the server's clock itself. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { Argument, Send } from './redis-connection.ts'
import { replyCode } from './redis-errors.ts'
import { StoreError } from './store.ts'

const NAMES = [
  ...(['claim', 'look', 'renew', 'settle', 'release', 'cleanup'] as const),
  ...(['held', 'rows', 'messages', 'latest', 'counts'] as const),
]

/** A script's file, without its ending. */
export type ScriptName = (typeof NAMES)[number]

/** What a script answers: texts as bytes, null for what is absent. */
export type Reply = Buffer | number | null | Reply[]

/** What a script is asked with: null is what is absent. */
export type Value = string | number | null

/** Runs one script on a connection. `bytes`: what no text can hold, which the values name by its number, from 1. */
export type Run = (script: ScriptName, values: readonly Value[], bytes?: readonly Buffer[]) => Promise<Reply[]>

interface Script {
  readonly text: string
  readonly sha: string
}

/** All scripts, by name. */
export type Scripts = ReadonlyMap<ScriptName, Script>

/** Reads the scripts. Throws a {@link StoreError} of kind `setup` where they are not there (a bundler left them out). */
export async function readScripts(): Promise<Scripts> {
  // Both src/store and dist/store are two levels below the package's own directory.
  const directory = new URL('../../sql/redis/', import.meta.url)
  try {
    const common = await readFile(new URL('common.lua', directory), 'utf8')
    const scripts = NAMES.map(async (name): Promise<[ScriptName, Script]> => {
      const text = `${common}\n${await readFile(new URL(`${name}.lua`, directory), 'utf8')}`
      return [name, { text, sha: createHash('sha1').update(text).digest('hex') }]
    })
    return new Map(await Promise.all(scripts))
  } catch (cause) {
    throw new StoreError(
      'setup',
      `session-lock: cannot read the scripts in ${fileURLToPath(directory)}. ` +
        'They are part of the package; where a bundler builds the bot, mark session-lock as external.',
      { cause },
    )
  }
}

/**
 * Runs scripts by their hash; one that the server does not know (any more) is sent whole.
 *
 * @param declared keys that tell a cluster where the script belongs. On a single server they change nothing.
 */
export function runOn(send: Send, scripts: Scripts, prefix: string, declared: readonly string[] = []): Run {
  return async (name, values, bytes = []) => {
    const script = scripts.get(name)
    if (!script) throw new StoreError('setup', `session-lock: there is no script ${name}`)
    // The keys that the script touches are not declared: they would have to be sent twice.
    const rest: Argument[] = [declared.length, ...declared, prefix, JSON.stringify(values), ...bytes]
    try {
      return (await send('EVALSHA', [script.sha, ...rest])) as Reply[]
    } catch (error) {
      if (replyCode(error) !== 'NOSCRIPT') throw error
      return (await send('EVAL', [script.text, ...rest])) as Reply[]
    }
  }
}

/** The scripts count in microseconds. */
export function toMicros(milliseconds: number): number {
  return Math.round(milliseconds * 1000)
}

/** A text of a reply that is never absent. */
export function text(reply: Reply | undefined): string {
  return Buffer.isBuffer(reply) ? reply.toString('utf8') : String(reply ?? '')
}

/** A text of a reply, or null. */
export function textOrNull(reply: Reply | undefined): string | null {
  return Buffer.isBuffer(reply) ? reply.toString('utf8') : null
}

/** A number of a reply that is never absent. */
export function integer(reply: Reply | undefined): number {
  return typeof reply === 'number' ? reply : Number(text(reply))
}

/** A list of a reply; empty where it is absent. */
export function list(reply: Reply | undefined): Reply[] {
  return Array.isArray(reply) ? reply : []
}
