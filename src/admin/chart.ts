/** A small chart of what happened lately. */
import { type Html, html } from './html.ts'

const HEIGHT = 40
const BAR = 4

/** Bars, the oldest at the left. Drawn by attributes alone, as the page allows no styles within it. */
export function barChart(label: string, values: readonly number[]): Html {
  const most = Math.max(1, ...values)
  const bars = values.map((value, index) => {
    const height = value === 0 ? 0 : Math.max(2, Math.round((value / most) * HEIGHT))
    return html`<rect x="${index * BAR}" y="${HEIGHT - height}" width="${BAR - 1}" height="${height}"></rect>`
  })
  const width = values.length * BAR
  return html`<svg class="chart" role="img" aria-label="${label}" viewBox="0 0 ${width} ${HEIGHT}" preserveAspectRatio="none">${bars}<line x1="0" y1="${HEIGHT}" x2="${width}" y2="${HEIGHT}"></line></svg>`
}
