/** Tables, as a terminal shows them. */
import { type Colour, coloured } from './colour.ts'

/** A column of a table. */
export interface Column {
  readonly title: string
  readonly align?: 'right'
  /** How narrow it may become where the terminal is too narrow. Absent: its cells are never cut. */
  readonly least?: number
  /** true: it is left out where the terminal is too narrow for all columns at their narrowest. */
  readonly mayGo?: boolean
  /** Whether a cell stands out. */
  readonly colour?: (cell: string) => Colour | undefined
}

const GAP = '  '

/**
 * The rows under the columns' titles. Where they are wider than `width` characters, the widest cells that may
 * be cut lose their middle: ids differ at their ends; and where that is not enough, columns that may go are left out.
 *
 * @param width - Infinity where the output is no terminal.
 */
export function formatTable(
  columns: readonly Column[],
  rows: ReadonlyArray<readonly string[]>,
  width = Number.POSITIVE_INFINITY,
): string {
  const shown = rows.map((row) => row.map(printable))
  const whole = columns.map((column, at) => measure(column, shown, at))
  const isTight = total(whole.map(({ least }) => least)) > width
  const kept = columns.map((_, at) => at).filter((at) => !isTight || columns[at]?.mayGo !== true)
  const keep = <Item>(items: readonly Item[]) => items.filter((_, at) => kept.includes(at))
  const widths = fitWidths(keep(whole), width)
  const titles = columns.map((column) => column.title)
  return [titles, ...shown].map((cells) => formatLine(keep(columns), widths, keep(cells))).join('\n')
}

/** How wide a column is, and how narrow it may become. */
interface Measured {
  readonly most: number
  readonly least: number
}

function measure({ title, least }: Column, rows: ReadonlyArray<readonly string[]>, at: number): Measured {
  const most = rows.reduce((widest, row) => Math.max(widest, lengthOf(row[at] ?? '')), title.length)
  return { most, least: least === undefined ? most : Math.min(most, Math.max(least, title.length)) }
}

function fitWidths(columns: readonly Measured[], width: number): number[] {
  const widths = columns.map(({ most }) => most)
  while (total(widths) > width) {
    const room = widths.map((one, at) => (one > (columns[at]?.least ?? 0) ? one : 0))
    const widest = Math.max(...room)
    if (widest === 0) break
    widths[room.indexOf(widest)] = widest - 1
  }
  return widths
}

function total(widths: readonly number[]): number {
  return widths.reduce((sum, one) => sum + one, GAP.length * (widths.length - 1))
}

function formatLine(columns: readonly Column[], widths: readonly number[], cells: readonly string[]): string {
  const padded = columns.map(({ align, colour }, at) => {
    const width = widths[at] ?? 0
    const cell = cells[at] ?? ''
    const text = shorten(cell, width)
    const padding = ' '.repeat(Math.max(0, width - lengthOf(text)))
    const shown = coloured(colour?.(cell), text)
    return align === 'right' ? padding + shown : shown + padding
  })
  return padded.join(GAP).trimEnd()
}

/** Cuts out of the middle. */
function shorten(text: string, width: number): string {
  const characters = [...text]
  if (characters.length <= width) return text
  const head = Math.floor((width - 1) / 2)
  return `${characters.slice(0, head).join('')}…${characters.slice(characters.length - (width - 1 - head)).join('')}`
}

function lengthOf(text: string): number {
  return [...text].length
}

/** Ids come from strangers: what would move the cursor or turn the line around is made visible instead. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\ufffd')
}
