/** HTML whose every value is escaped, unless it is HTML itself. */
import escapeHtml from 'escape-html'

/** Text that is HTML already. */
export interface Html {
  readonly html: string
}

type Value = string | number | Html | readonly Html[] | false | null | undefined

/** A template: `` html`<td>${prospect}</td>` ``. False, null and undefined leave nothing. */
export function html(parts: TemplateStringsArray, ...values: Value[]): Html {
  return { html: parts.reduce((whole, part, index) => whole + textOf(values[index - 1]) + part) }
}

function textOf(value: Value): string {
  if (value === false || value === null || value === undefined) return ''
  if (typeof value === 'string' || typeof value === 'number') return escapeHtml(String(value))
  return 'html' in value ? value.html : value.map((one) => one.html).join('')
}
