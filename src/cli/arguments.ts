/** The words of a command line, and what a command takes of them. */
import { parseArgs } from 'node:util'
import { reasonOf } from '../store/store.ts'
import { type Command, type OptionValues, UsageError } from './command.ts'

/** Throws a {@link UsageError}, of one line. */
export function readArguments(
  command: Command,
  args: readonly string[],
): { values: OptionValues; names: readonly string[] } {
  const { takesNames = false } = command
  const options = { ...command.options, help: { type: 'boolean', short: 'h' } } as const
  try {
    const parsed = parseArgs({ args: dashed(options, args), options, strict: true, allowPositionals: takesNames })
    return { values: parsed.values as OptionValues, names: parsed.positionals }
  } catch (error) {
    // It goes on with advice about dashes, which would be a second line.
    const problem = reasonOf(error).split('. ')[0]
    const advice = takesNames ? '; a name that begins with a dash is given after --' : ''
    throw new UsageError(`${problem}${advice}`)
  }
}

/** Ids of Telegram's groups look like negative numbers, and no option does: they are values and names. */
function dashed(options: Command['options'], args: readonly string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length
  const words: string[] = []
  const names: string[] = []
  for (const word of args.slice(0, end)) {
    const before = words.at(-1)
    if (!/^-\d+$/.test(word)) words.push(word)
    else if (before?.startsWith('--') && options[before.slice(2)]?.type === 'string')
      words.push(`${words.pop()}=${word}`)
    else names.push(word)
  }
  return [...words, '--', ...names, ...args.slice(end + 1)]
}
