/** What a command of `session-lock` is. */
import type { ParseArgsConfig } from 'node:util'
import { reasonOf } from '../store/store.ts'
import { printable } from './table.ts'

/** The values of a command's options, as `parseArgs` reads them. */
export type OptionValues = Readonly<Record<string, string | boolean | undefined>>

/**
 * How the program ends: 0 it is done; 1 it could not be done; 2 the command line is wrong, nothing was done;
 * 3 it was done, and somebody should look at what it says: nothing was found by that name, a live session was not
 * released, `doctor` found a fault, `migrate --check` found tables that are not up to date.
 */
export type ExitCode = 0 | 1 | 2 | 3

/** What a command ends with. */
export interface Printed {
  readonly text: string
  readonly code: ExitCode
}

/** One command, in a file of its own. */
export interface Command {
  /** One line for the list of commands. */
  readonly summary: string
  /** The whole text of `session-lock <command> --help`. */
  readonly help: string
  /** Its options, beside `--help`, which all have. */
  readonly options: NonNullable<ParseArgsConfig['options']>
  /** true: names may follow, for example of sessions. */
  readonly takesNames?: boolean
  /** true: it may run for longer than ten seconds. */
  readonly takesLong?: boolean
  /**
   * Does the work and resolves to what is printed; a text alone ends with code 0.
   *
   * @throws {@link UsageError} where the options do not fit together.
   */
  run(values: OptionValues, names: readonly string[]): Promise<string | Printed>
}

/** The command line is wrong; nothing was done. Ends the program with code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** What is wrong, in one line. */
export function errorLine(error: unknown): string {
  return printable(`session-lock: ${reasonOf(error).replaceAll(/\s+/g, ' ')}`)
}

/** Reads an option that takes a whole number of at least 1. Throws a {@link UsageError}. */
export function wholeNumber(name: string, value: string | boolean | undefined, byDefault: number): number {
  if (value === undefined) return byDefault
  const number = Number(value)
  if (!Number.isSafeInteger(number) || number < 1) throw new UsageError(`--${name} takes a whole number of at least 1`)
  return number
}

/** Reads an option that takes a text. */
export function textOf(value: string | boolean | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}

/** As all commands print what programs are to read. */
export function asJson(value: unknown): string {
  return JSON.stringify(value, null, 2)
}

/** `1 session`, `2 sessions`. */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
