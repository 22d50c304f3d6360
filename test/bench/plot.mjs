/** The throughput of one scenario as a picture: SVG that is readable in light and in dark mode. */
import { STORES } from './variants.mjs'

const WIDTH = 780
const LEFT = 232
const RIGHT = 150
const TOP = 96
const BOTTOM = 60
const BAR = 16
const ROW = 24
const HEADING = 30

const STYLE = `
  .paper { fill: #ffffff; stroke: #d1d9e0; }
  text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; fill: #1f2328; }
  .title { font-size: 17px; font-weight: 600; }
  .quiet { fill: #59636e; font-size: 12px; }
  .store, .ours { font-weight: 600; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .bare { stroke: #59636e; stroke-width: 1.5; stroke-dasharray: 4 3; }
  .spread { stroke: #1f2328; stroke-width: 1.5; }
  .bar { fill: #afb8c1; }
  .bar.ours { fill: #1a7f37; }
  .bar.single { fill: #8fce9f; }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117; stroke: #3d444d; }
    text { fill: #f0f6fc; }
    .quiet { fill: #9198a1; }
    .grid { stroke: #2a313c; }
    .bare { stroke: #9198a1; }
    .spread { stroke: #f0f6fc; }
    .bar { fill: #545d68; }
    .bar.ours { fill: #3fb950; }
    .bar.single { fill: #26653a; }
  }`

/** Horizontal bars, by store: the median ratio to bare Express, and a line over its quartiles. */
export function plotOf({ title, connections, rows }, { place, settings }) {
  const variants = rows.filter(({ kind }) => kind !== 'bare')
  const scale = scaleTo(Math.max(1, ...variants.map(({ ofBare }) => ofBare.upper)))
  const { parts, height } = barsOf(variants, scale)
  const pairs = `${title}, ${connections} connections; ${place}; median and quartiles of ${settings.rounds * 2} pairs`
  const label = variants.map(({ key, ofBare }) => `${key} ${ofBare.median.toFixed(2)}`).join(', ')
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" aria-label="${escaped(`Throughput with protection, against bare Express = 1.00: ${label}`)}">
<style>${STYLE}
</style>
<rect class="paper" x="0.5" y="0.5" width="${WIDTH - 1}" height="${height - 1}" rx="8"/>
<text class="title" x="20" y="32">Throughput with protection, against bare Express</text>
<text class="quiet" x="20" y="53">${escaped(pairs)}</text>
${gridOf(scale, height)}
${parts.join('\n')}
${variants.some(({ messagesOnly }) => messagesOnly) ? `<text class="quiet" x="20" y="${height - 16}">* guards messages only, not sessions</text>` : ''}
</svg>
`
}

function scaleTo(most) {
  return { most, x: (ratio) => round(LEFT + (ratio / most) * (WIDTH - LEFT - RIGHT)) }
}

function gridOf({ x }, height) {
  const [from, to] = [TOP - 8, height - BOTTOM]
  const lines = [0, 0.2, 0.4, 0.6, 0.8].flatMap((ratio) => [
    `<line class="grid" x1="${x(ratio)}" x2="${x(ratio)}" y1="${from}" y2="${to}"/>`,
    `<text class="quiet" x="${x(ratio)}" y="${to + 18}" text-anchor="middle">${ratio.toFixed(1)}</text>`,
  ])
  return [
    ...lines,
    `<line class="bare" x1="${x(1)}" x2="${x(1)}" y1="${from}" y2="${to}"/>`,
    `<text class="quiet" x="${x(1)}" y="${to + 18}" text-anchor="middle">1.0</text>`,
    `<text class="quiet" x="${x(1)}" y="${from - 7}" text-anchor="middle">bare Express</text>`,
  ].join('\n')
}

function barsOf(variants, { x, most }) {
  const parts = []
  let y = TOP - 8
  let store
  for (const variant of variants) {
    if (variant.store !== store) {
      store = variant.store
      y += HEADING
      parts.push(`<text class="store" x="20" y="${y - 9}">${escaped(STORES[store])}</text>`)
    }
    parts.push(barOf(variant, { x, y, after: x(most) + 14 }))
    y += ROW
  }
  return { parts, height: y + 10 + BOTTOM }
}

function barOf({ name, kind, ofBare, messagesOnly }, { x, y, after }) {
  const { median, lower, upper } = ofBare
  const middle = y + BAR / 2
  const base = middle + 4.5
  const [from, to] = [x(lower), x(upper)]
  return [
    `<text class="${kind}" x="32" y="${base}">${escaped(name)}${messagesOnly ? ' *' : ''}</text>`,
    `<rect class="bar ${kind}" x="${x(0)}" y="${y}" width="${round(x(median) - x(0))}" height="${BAR}" rx="2"/>`,
    `<path class="spread" d="M${from} ${middle}H${to}M${from} ${middle - 4}v8M${to} ${middle - 4}v8"/>`,
    `<text x="${after}" y="${base}"><tspan class="${kind}">${median.toFixed(2)}</tspan>` +
      `<tspan class="quiet" dx="6">${lower.toFixed(2)}–${upper.toFixed(2)}</tspan></text>`,
  ].join('\n')
}

function round(number) {
  return Math.round(number * 10) / 10
}

function escaped(text) {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
