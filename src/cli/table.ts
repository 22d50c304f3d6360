/** Tables, as a terminal shows them. */
import { type Colour, coloured } from './colour.ts'

/** A column of a table. */
export interface Column {
  readonly title: string
  readonly align?: 'right'
  /** How narrow it may become where the terminal is too narrow. Absent: its cells are never cut. */
  readonly least?: number
  /** Whether a cell stands out. */
  readonly colour?: (cell: string) => Colour | undefined
}

const GAP = '  '

/**
 * The rows under the columns' titles. Where they are wider than `width` characters, the widest cells that may
 * be cut lose their middle: ids differ at their ends.
 *
 * @param width - Infinity where the output is no terminal.
 */
export function formatTable(
  columns: readonly Column[],
  rows: ReadonlyArray<readonly string[]>,
  width = Number.POSITIVE_INFINITY,
): string {
  const shown = rows.map((row) => row.map(printable))
  const widths = fitWidths(columns, shown, width)
  const titles = columns.map((column) => column.title)
  return [titles, ...shown].map((cells) => formatLine(columns, widths, cells)).join('\n')
}

function fitWidths(columns: readonly Column[], rows: ReadonlyArray<readonly string[]>, width: number): number[] {
  const widths = columns.map(({ title }, at) =>
    rows.reduce((most, row) => Math.max(most, lengthOf(row[at] ?? '')), title.length),
  )
  const least = columns.map(({ title, least }, at) =>
    least === undefined ? (widths[at] ?? 0) : Math.max(least, title.length),
  )
  const total = () => widths.reduce((sum, one) => sum + one, GAP.length * (columns.length - 1))
  while (total() > width) {
    const room = widths.map((one, at) => (one > (least[at] ?? 0) ? one : 0))
    const widest = Math.max(...room)
    if (widest === 0) break
    widths[room.indexOf(widest)] = widest - 1
  }
  return widths
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
