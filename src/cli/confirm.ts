/** Asking before something is changed. */
import { createInterface } from 'node:readline/promises'
import { type OptionValues, UsageError } from './command.ts'

/** For the options of a command that asks. */
export const YES_OPTION = { yes: { type: 'boolean', short: 'y' } } as const

export const YES_HELP = '  --yes                 do it without asking; needed where nobody can be asked (no terminal)'

/**
 * Does somebody agree?
 *
 * @throws {@link UsageError} where there is no terminal to ask at, and `--yes` is not set.
 */
export async function isConfirmed(values: OptionValues, question: string): Promise<boolean> {
  if (values['yes'] === true) return true
  if (!process.stdin.isTTY) throw new UsageError(`${question} There is no terminal to ask at: say --yes`)
  const asking = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^y(es)?$/i.test((await asking.question(`${question} [y/N] `)).trim())
  } finally {
    asking.close()
  }
}
