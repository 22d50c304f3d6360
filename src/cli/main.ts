#!/usr/bin/env node
/** `session-lock <command>`: looks into a store from outside the bot. */
import { readFile } from 'node:fs/promises'
import { readArguments } from './arguments.ts'
import { benchCommand } from './bench.ts'
import { cleanupCommand } from './cleanup.ts'
import { type Command, errorLine, type Printed, UsageError } from './command.ts'
import { discardCommand, retryCommand } from './dead-letters.ts'
import { doctorCommand } from './doctor.ts'
import { deadCommand, messagesCommand } from './messages.ts'
import { migrateCommand } from './migrate.ts'
import { releaseCommand } from './release.ts'
import { sessionsCommand } from './sessions.ts'
import { showCommand } from './show.ts'
import { statsCommand } from './stats.ts'
import { watchCommand } from './watch.ts'

const COMMANDS: Readonly<Record<string, Command>> = {
  sessions: sessionsCommand,
  messages: messagesCommand,
  show: showCommand,
  stats: statsCommand,
  watch: watchCommand,
  doctor: doctorCommand,
  release: releaseCommand,
  dead: deadCommand,
  retry: retryCommand,
  discard: discardCommand,
  cleanup: cleanupCommand,
  migrate: migrateCommand,
  bench: benchCommand,
}

/** However a database or a network behaves, nobody waits for longer, unless for a command that takes long. */
const TIME_LIMIT_MS = 9500

const HELP = `Usage: session-lock <command> [options]

Looks into the store of a bot that uses session-lock, and steps in.

Commands:
${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(10)}  ${summary}`)
  .join('\n')}

Options:
  --help      this text, or that of a command
  --version   the version of session-lock

Ends with code 0 when it is done; 1 when it could not be done, for example because the store cannot be
reached; 2 when the command line is wrong; 3 when it is done and there is something to look at: nothing
was found by that name, a live session was not released, doctor or migrate --check found a fault.

Examples:
  npx session-lock sessions --store sqlite:./bot.db
  SESSION_LOCK_URL=postgres://bot:secret@localhost/bot npx session-lock doctor
  npx session-lock sessions --help`

async function run([name, ...rest]: readonly string[]): Promise<string | Printed> {
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') return HELP
  if (name === '--version' || name === '-v') return version()
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) {
    const problem = name.startsWith('-') ? 'the command comes first' : `there is no command "${name}"`
    throw new UsageError(`${problem}; there is: ${Object.keys(COMMANDS).join(', ')}`)
  }
  const { values, names } = readArguments(command, rest)
  if (values['help'] === true) return command.help
  const limit = command.takesLong ? undefined : limitTime()
  try {
    return await command.run(values, names)
  } finally {
    // Who reads what is printed may take their time.
    clearTimeout(limit)
  }
}

function limitTime(): NodeJS.Timeout {
  return setTimeout(() => {
    fail(new Error(`no answer from the store within ${TIME_LIMIT_MS / 1000} s; is it up and reachable?`))
    process.exit()
  }, TIME_LIMIT_MS).unref()
}

async function version(): Promise<string> {
  const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'))
  return manifest.version
}

/** Says in one line what is wrong, and sets the exit code. */
function fail(error: unknown): void {
  const isUsage = error instanceof UsageError
  console.error(`${errorLine(error)}${isUsage ? ' (see --help)' : ''}`)
  process.exitCode = isUsage ? 2 : 1
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // Whoever reads may have read enough (`| head`).
  if (error.code !== 'EPIPE') fail(new Error(`the output cannot be written (${error.message})`))
  process.exit()
})
try {
  const printed = await run(process.argv.slice(2))
  const { text, code } = typeof printed === 'string' ? { text: printed, code: 0 } : printed
  process.exitCode = code
  if (text !== '') console.log(text)
} catch (error) {
  fail(error)
}
