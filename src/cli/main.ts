#!/usr/bin/env node
/** `session-lock <command>`: looks into a store from outside the bot. */
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { OptionsError } from '../engine/errors.ts'
import { type Command, type OptionValues, UsageError } from './command.ts'
import { sessionsCommand } from './sessions.ts'

const COMMANDS: Readonly<Record<string, Command>> = { sessions: sessionsCommand }

/** However a database or a network behaves, nobody waits for longer. */
const TIME_LIMIT_MS = 9500

const HELP = `Usage: session-lock <command> [options]

Looks into the store of a bot that uses session-lock.

Commands:
${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(20)}  ${summary}`)
  .join('\n')}

Options:
  --help                this text, or that of a command
  --version             the version of session-lock

Examples:
  npx session-lock sessions --store sqlite:./bot.db
  npx session-lock sessions --help`

/** Resolves to what is printed. */
async function run([name, ...rest]: readonly string[]): Promise<string> {
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') return HELP
  if (name === '--version' || name === '-v') return version()
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) {
    const problem = name.startsWith('-') ? 'the command comes first' : `there is no command "${name}"`
    throw new UsageError(`${problem}; there is: ${Object.keys(COMMANDS).join(', ')}`)
  }
  const values = parse(command, rest)
  return values['help'] === true ? command.help : command.run(values)
}

function parse(command: Command, args: readonly string[]): OptionValues {
  try {
    const options = { ...command.options, help: { type: 'boolean', short: 'h' } } as const
    return parseArgs({ args: [...args], options, strict: true }).values as OptionValues
  } catch (error) {
    // It goes on with advice about dashes, which would be a second line.
    throw new UsageError(textOf(error).split('. ')[0])
  }
}

async function version(): Promise<string> {
  const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))
  return manifest.version
}

/** Says in one line what is wrong, and sets the exit code. */
function fail(error: unknown): void {
  const isUsage = error instanceof UsageError || (error instanceof OptionsError && error.option === 'tablePrefix')
  const text = textOf(error)
    .replace(/^session-lock: /, '')
    .replaceAll(/\s+/g, ' ')
  console.error(`session-lock: ${text}${isUsage ? ' (see --help)' : ''}`)
  process.exitCode = isUsage ? 2 : 1
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

// Whoever reads may have read enough (`| head`).
process.stdout.on('error', () => process.exit(0))
setTimeout(() => {
  fail(new Error(`no answer from the store within ${TIME_LIMIT_MS / 1000} s; is it up and reachable?`))
  process.exit()
}, TIME_LIMIT_MS).unref()

try {
  console.log(await run(process.argv.slice(2)))
} catch (error) {
  fail(error)
}
