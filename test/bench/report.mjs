/** The results as tables, for the terminal and as Markdown. */
import { STORES } from './variants.mjs'

const two = (number) => number.toFixed(2)
const whole = (number) => number.toFixed(0)
const within = (show) => (spread) => `${show(spread.median)} (${show(spread.lower)}–${show(spread.upper)})`

const SPEED = [
  ['of bare Express', ({ kind, ofBare }) => (kind === 'bare' ? '1.00' : within(two)(ofBare))],
  ['deliveries/s', ({ deliveriesPerSecond }) => whole(deliveriesPerSecond)],
  ['p50 ms', ({ p50Ms }) => p50Ms.toFixed(1)],
  ['p99 ms', ({ p99Ms }) => p99Ms.toFixed(1)],
  ['CPU µs', ({ cpuMicrosPerDelivery }) => whole(cpuMicrosPerDelivery)],
]
const NOT_OK = ['not 200', ({ notOk }) => (notOk === 0 ? '' : `${(notOk * 100).toFixed(notOk < 0.1 ? 1 : 0)} %`)]
const RUNS = ['handled, a message', ({ runsPerMessage }) => two(runsPerMessage)]
const AT_ONCE = ['at once, at most', ({ mostAtOnce }) => String(mostAtOnce)]
const PROTECTS = ['protects', ({ protects }) => protects]
const LATENCY = [
  ['p50 ms', ({ p50Ms }) => two(p50Ms)],
  ['added p50 ms', ({ addedP50Ms }) => (addedP50Ms ? within(two)(addedP50Ms) : '')],
  ["the store's two commits ms", ({ twoCommitsMs }) => (twoCommitsMs ? within(two)(twoCommitsMs.alone) : '')],
  ['as many at once ms', ({ twoCommitsMs }) => (twoCommitsMs ? two(twoCommitsMs.sideBySide.median) : '')],
  ['p99 ms', ({ p99Ms }) => two(p99Ms)],
  ['CPU µs', ({ cpuMicrosPerDelivery }) => whole(cpuMicrosPerDelivery)],
]

/** What there is to see, by workload. */
const COLUMNS = {
  different: [...SPEED, NOT_OK, PROTECTS],
  hot: [...SPEED, NOT_OK, RUNS, AT_ONCE],
  duplicates: [...SPEED, NOT_OK, RUNS],
  mixed: [...SPEED, NOT_OK, RUNS],
  'two-processes': [...SPEED, NOT_OK, RUNS],
  latency: [...LATENCY, NOT_OK],
}

/** Prints one scenario. */
export function printTable(scenario) {
  const columns = [['', ({ key }) => key], ...COLUMNS[scenario.workload].filter((column) => column !== PROTECTS)]
  const cells = [columns.map(([title]) => title), ...scenario.rows.map((row) => columns.map(([, show]) => show(row)))]
  const widths = columns.map((_, column) => Math.max(...cells.map((row) => row[column].length)))
  const pad = (text, column) => (column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column]))
  console.log(`\n${titleOf(scenario)}\n`)
  for (const row of cells) console.log(row.map(pad).join('  '))
}

/** Prints what it should have shown. */
export function printExpectations(expectations) {
  console.log('')
  for (const { text, met, must } of expectations) console.log(`${met ? 'yes' : must ? 'NO!' : 'no '}  ${text}`)
}

/** Prints in whose code the bots were. */
export function printProfiles(profiles) {
  for (const [file, places] of Object.entries(profiles)) {
    console.log(`\n${file}`)
    for (const { place, share } of places.slice(0, 14))
      console.log(`  ${(share * 100).toFixed(1).padStart(5)} %  ${place}`)
  }
}

/** All of it, to be read on its own. */
export function markdownOf({ place, facts, packages, settings, scenarios }) {
  const lines = [
    '# What protection costs',
    '',
    `Written by \`npm run bench\` on ${[place, ...Object.values(facts)].join('; ')}.`,
    '',
    `Beside it: ${packages.join(', ')}.`,
    '',
    `Each variant in ${settings.rounds * 2} slices of ${settings.seconds} s, each right beside one of bare Express (= 1.00): the`,
    'median of their ratios, and its quartiles. *deliveries/s* counts what was answered with 200; *CPU* is that of the bot,',
    'for a delivery. Bot, load and database share the cores.',
  ]
  for (const scenario of scenarios) lines.push('', `## ${titleOf(scenario)}`, '', ...markdownTable(scenario))
  return `${lines.join('\n')}\n`
}

function markdownTable({ workload, rows }) {
  const columns = [['', nameOf], ...COLUMNS[workload]].filter(
    ([title, show]) => title === '' || rows.some((row) => show(row) !== ''),
  )
  const line = (cells) => `| ${cells.join(' | ')} |`
  return [
    line(columns.map(([title]) => title)),
    line(columns.map((_, index) => (index === 0 ? '---' : columns[index] === PROTECTS ? '---' : '--:'))),
    ...rows.map((row) =>
      line(columns.map(([, show], index) => (row.kind === 'ours' && index < 2 ? bold(show(row)) : show(row)))),
    ),
  ]
}

function nameOf({ name, store }) {
  return store === '' ? name : `${STORES[store]}: ${name}`
}

function bold(text) {
  return text === '' ? '' : `**${text}**`
}

function titleOf({ title, connections }) {
  return `${title}, ${connections} ${connections === 1 ? 'connection' : 'connections'}`
}
