/** The run: one variant after another, each closely paired with bare Express. */
import { setTimeout as sleep } from 'node:timers/promises'
import { startBots, startWorker } from './bots.mjs'
import { startCommitCounter } from './databases.mjs'
import { whereTimeWent } from './profile.mjs'
import { BARE, keyOf } from './variants.mjs'

/** A message's settlement is written after its answer; this is ample for the last ones. */
const UNTIL_SETTLED_MS = 200

/** Until code is compiled, caches are filled and tables have their first thousand rows. */
const WARM_UP = { length: 5, count: 64 }

/** Ample for peers that wait, and give up within seconds. */
const MUCH_LONGER_MS = 60_000

/**
 * Measures each variant in slices that alternate with slices of bare Express: bare, protected, protected, bare, so
 * that a machine that grows slower or faster favours neither. One such turn a round, and all rounds of a variant
 * before the next one's: a bot that is idle for a minute begins cold, which bare Express would never be.
 *
 * @returns `pairs` of slices by variant; by store, for a workload that asks for it, the `commits` of its own, alone
 * and as many at once as there are connections; and `profiles` by variant, where they were asked for
 */
export async function measure(workload, connections, variants, { rounds, seconds }, { urls, ...tools }) {
  const load = startWorker('load.mjs', [], tools)
  const ownCommits = startWorker('commits.mjs', [JSON.stringify(urls)], tools)
  const counter = urls.mariadb === undefined ? undefined : await startCommitCounter(urls.mariadb)
  const slice = (bots, { length, count } = { length: seconds, count: connections }) => {
    const order = { ports: bots.ports(), traffic: workload.traffic, connections: count, seconds: length }
    return measureSlice(bots, () => load.ask(order, length * 1000 + MUCH_LONGER_MS), counter)
  }
  const twoCommits = async (store, side) =>
    (await ownCommits.ask({ store, seconds, side }, seconds * 1000 + MUCH_LONGER_MS)).p50Ms
  const pairs = {}
  const commits = {}
  const profiles = {}

  async function measureVariant(bare, bots) {
    const { store } = bots.variant
    const ofStore = workload.commits && store !== 'memory' && !commits[store] ? [] : undefined
    if (ofStore) commits[store] = ofStore
    const taken = []
    for (let round = 0; round < rounds; round += 1) {
      const slices = [await slice(bare), await slice(bots), await slice(bots), await slice(bare)]
      taken.push({ bare: slices[0], own: slices[1] }, { bare: slices[3], own: slices[2] })
      ofStore?.push({ aloneMs: await twoCommits(store, 1), sideBySideMs: await twoCommits(store, connections) })
    }
    pairs[keyOf(bots.variant)] = taken
  }

  async function withBots(variant, work) {
    const bots = startBots(variant, workload, tools)
    try {
      await bots.started()
      await slice(bots, WARM_UP)
      await work(bots)
    } finally {
      await bots.end()
    }
    for (const file of bots.profiles()) profiles[file] = whereTimeWent(file)
  }

  try {
    await withBots(BARE, async (bare) => {
      for (const variant of variants) {
        process.stderr.write(`  ${keyOf(variant)}\n`)
        await withBots(variant, (bots) => measureVariant(bare, bots))
      }
    })
  } finally {
    await counter?.end()
    await Promise.all([load, ownCommits].map((started) => started.end()))
  }
  return { pairs, commits, profiles }
}

async function measureSlice(bots, deliver, counter) {
  const counted = async () => ({
    ...(await bots.usage()),
    ...(bots.variant.commits && { commits: await counter.count() }),
  })
  const before = await counted()
  const { seconds, ...delivered } = await deliver()
  await sleep(UNTIL_SETTLED_MS)
  const after = await counted()
  return {
    ...delivered,
    /** Only what was answered as done: to refuse is no work. */
    deliveriesPerSecond: (delivered.statuses['200'] ?? 0) / seconds,
    cpuMicrosPerDelivery: ((after.cpuMs - before.cpuMs) * 1000) / delivered.deliveries,
    runs: after.runs - before.runs,
    mostAtOnce: after.mostAtOnce,
    ...(bots.variant.commits && { commits: after.commits - before.commits }),
  }
}
