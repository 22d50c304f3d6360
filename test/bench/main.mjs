/**
 * What protection costs: the same Express app without it (= 1.00), with the lock on each store, and with others'
 * protections on the same servers, in one interleaved run.
 *
 *   npm run bench                                  # different sessions, 64 connections: some ten minutes
 *   npm run bench -- --full                        # all workloads, latency too; writes test/bench/results
 *   npm run bench -- --workload hot,duplicates --stores redis,postgres --variants session-lock,chat
 *   npm run bench -- --connections 8,256 --rounds 9 --seconds 1 --json results.json --markdown results.md
 *   npm run bench -- --stores mariadb --variants session-lock --profile profiles
 *
 * `--variants` takes parts of names. `--profile` takes a folder for a CPU profile of each bot, and prints in whose
 * code it was. The servers are throwaway ones of our own, or those of TEST_MYSQL_URL, TEST_POSTGRES_URL and
 * TEST_REDIS_URL. It ends with exit code 1 where a message was handled twice, a delivery of the lock's was refused
 * without need, or group commit does not show.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { startDatabases } from './databases.mjs'
import { expectationsOf } from './expectations.mjs'
import { measure } from './measure.mjs'
import { plotOf } from './plot.mjs'
import { markdownOf, printExpectations, printProfiles, printTable } from './report.mjs'
import { summarize } from './summary.mjs'
import { allVariants, STORES } from './variants.mjs'
import { WORKLOADS } from './workloads.mjs'
import { openTestTools } from './workshop.mjs'

/** A full run, as workloads and connections. */
const FULL = [
  ...[
    ['different', 64],
    ['different', 256],
    ['hot', 64],
    ['duplicates', 64],
    ['mixed', 64],
    ['two-processes', 64],
  ],
  ...[
    ['latency', 1],
    ['latency', 8],
  ],
]

const RESULTS = fileURLToPath(new URL('results/', import.meta.url))

const settings = readSettings()
const tools = await loadTools()
// The test servers do not keep this process alive, not even while they are being stopped.
const alive = setInterval(() => {}, 1000)
const scenarios = []
const facts = {}
try {
  for (const [workload, connections] of settings.scenarios) scenarios.push(await run(workload, connections))
  const expectations = scenarios.flatMap((scenario) => expectationsOf(scenario).map((one) => ({ ...one, scenario })))
  if (expectations.some(({ must, met }) => must && !met)) process.exitCode = 1
  write()
} finally {
  await tools.close()
  clearInterval(alive)
}

/** Each with servers and bots of its own, so that no workload meets the leftovers of another. */
async function run(name, connections) {
  const workload = WORKLOADS[name]
  process.stderr.write(`\n${workload.title}, ${connections} connections\n`)
  const databases = await startDatabases(settings.stores, tools)
  Object.assign(facts, databases.facts)
  try {
    const variants = chosenVariants(databases.urls, workload)
    const { urls } = databases
    const profileDirectory = settings.profile && join(settings.profile, `${name}-${connections}`)
    if (profileDirectory) mkdirSync(profileDirectory, { recursive: true })
    const measured = await measure(workload, connections, variants, settings, { ...tools, urls, profileDirectory })
    const scenario = { workload: name, title: workload.title, connections, ...summarize(variants, measured) }
    printTable(scenario)
    printExpectations(expectationsOf(scenario))
    printProfiles(measured.profiles)
    return scenario
  } finally {
    await databases.stop()
  }
}

function chosenVariants(urls, { processes = 1 }) {
  const variants = allVariants(urls).filter(
    ({ name, store }) =>
      settings.stores.includes(store) &&
      (processes === 1 || store !== 'memory') &&
      settings.variants.some((part) => name.includes(part)),
  )
  if (variants.length === 0) throw new Error(`--variants: nothing on ${settings.stores.join(', ')} has such a name`)
  return variants
}

function write() {
  const { json, markdown, svg } = settings
  for (const file of [json, markdown, svg]) if (file) mkdirSync(dirname(file), { recursive: true })
  const place = `Node ${process.versions.node}, ${availableParallelism()} cores${flags()}`
  const { rounds, seconds } = settings
  const results = { place, facts, packages: peerVersions(), settings: { rounds, seconds }, scenarios }
  if (json) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`)
  if (markdown) writeFileSync(markdown, markdownOf(results))
  const plotted = scenarios.find(({ workload }) => workload === 'different')
  if (svg && plotted) writeFileSync(svg, plotOf(plotted, results))
}

function flags() {
  const options = process.env['NODE_OPTIONS']
  return options ? `, NODE_OPTIONS=${options}` : ''
}

function peerVersions() {
  const read = (file) => JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8'))
  const peers = Object.keys(read('package.json').dependencies)
  const { packages } = read('package-lock.json')
  return peers.map((name) => `${name} ${packages[`node_modules/${name}`].version}`)
}

async function loadTools() {
  const vite = await openTestTools()
  const files = ['processes/spawn-node', 'processes/guard', 'servers/mariadb', 'servers/postgres', 'servers/redis']
  const modules = await Promise.all(files.map((file) => vite.ssrLoadModule(`/test/${file}.ts`)))
  return { ...Object.assign({}, ...modules), close: () => vite.close() }
}

function readSettings() {
  const text = (value) => ({ type: 'string', ...(value !== undefined && { default: value }) })
  const { values } = parseArgs({
    options: {
      full: { type: 'boolean', default: false },
      workload: text('different'),
      connections: text('64'),
      stores: text(Object.keys(STORES).join()),
      variants: text(''),
      rounds: text('5'),
      seconds: text('0.75'),
      json: text(),
      markdown: text(),
      svg: text(),
      profile: text(),
    },
  })
  const result = (file) => (values.full ? join(RESULTS, file) : undefined)
  const workloads = values.workload === 'all' ? Object.keys(WORKLOADS) : oneOf('workload', values.workload, WORKLOADS)
  const connections = values.connections.split(',').map((count) => number('connections', count, Number.isSafeInteger))
  const asked = workloads.flatMap((name) => (WORKLOADS[name].connections ?? connections).map((count) => [name, count]))
  return {
    scenarios: values.full ? FULL : asked,
    stores: oneOf('stores', values.stores, STORES),
    variants: values.variants.split(','),
    rounds: number('rounds', values.rounds, Number.isSafeInteger),
    seconds: number('seconds', values.seconds, Number.isFinite),
    json: values.json ?? result('performance.json'),
    markdown: values.markdown ?? result('performance.md'),
    svg: values.svg ?? result('performance.svg'),
    profile: values.profile,
  }
}

function oneOf(option, value, known) {
  const names = value.split(',')
  if (names.every((name) => Object.hasOwn(known, name))) return names
  throw new Error(`--${option} takes ${Object.keys(known).join(', ')}, not ${value}`)
}

function number(option, value, isRight) {
  const result = Number(value)
  if (!isRight(result) || result <= 0) throw new Error(`--${option} takes a number above 0, not ${value}`)
  return result
}
