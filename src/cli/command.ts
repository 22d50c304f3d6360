/** What a command of `session-lock` is. */
import type { ParseArgsConfig } from 'node:util'

/** The values of a command's options, as `parseArgs` reads them. */
export type OptionValues = Readonly<Record<string, string | boolean | undefined>>

/** One command, in a file of its own. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string
  /** The whole text of `session-lock <command> --help`. */
  readonly help: string
  /** Its options, beside `--help`, which all have. */
  readonly options: NonNullable<ParseArgsConfig['options']>
  /**
   * Does the work and resolves to what is printed.
   *
   * @throws {@link UsageError} where the options do not fit together.
   */
  run(values: OptionValues): Promise<string>
}

/** The command line is wrong; nothing was done. Ends the program with code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Reads an option that takes a whole number of at least 1. Throws a {@link UsageError}. */
export function wholeNumber(name: string, value: string | boolean | undefined, byDefault: number): number {
  if (value === undefined) return byDefault
  const number = Number(value)
  if (!Number.isSafeInteger(number) || number < 1) throw new UsageError(`--${name} takes a whole number of at least 1`)
  return number
}
