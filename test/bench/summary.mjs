/** What the run has shown. Ratios are taken within a pair, where both met the same machine. */
import { BARE, keyOf } from './variants.mjs'

/** A claim and a settlement. */
const OPERATIONS_PER_RUN = 2

/**
 * One scenario: its `rows`, bare Express and then each variant; and by variant the `ratios` to bare Express of which
 * the rows tell the median.
 */
export function summarize(variants, { pairs, commits }) {
  const bareSlices = Object.values(pairs).flatMap((list) => list.map(({ bare }) => bare))
  const rows = variants.map((variant) => {
    const own = pairs[keyOf(variant)]
    return {
      ...rowOf(
        variant,
        own.map((pair) => pair.own),
      ),
      ofBare: spread(ratiosOf(own)),
      addedP50Ms: spread(own.map((pair) => pair.own.p50Ms - pair.bare.p50Ms)),
      ...(commits[variant.store] && {
        twoCommitsMs: {
          alone: spread(commits[variant.store].map(({ aloneMs }) => aloneMs)),
          sideBySide: spread(commits[variant.store].map(({ sideBySideMs }) => sideBySideMs)),
        },
      }),
    }
  })
  const one = { median: 1, lower: 1, upper: 1 }
  const ratios = Object.entries(pairs).map(([key, list]) => [key, ratiosOf(list).map(rounded)])
  return { rows: [{ ...rowOf(BARE, bareSlices), ofBare: one }, ...rows], ratios: Object.fromEntries(ratios) }
}

function rowOf(variant, slices) {
  const medianOf = (field) => median(slices.map((slice) => slice[field]))
  const sumOf = (count) => slices.reduce((sum, slice) => sum + count(slice), 0)
  const runs = sumOf((slice) => slice.runs)
  const deliveries = sumOf((slice) => slice.deliveries)
  return {
    key: keyOf(variant),
    name: variant.name,
    store: variant.store,
    kind: variant.kind,
    protects: variant.protects,
    messagesOnly: variant.messagesOnly,
    deliveriesPerSecond: medianOf('deliveriesPerSecond'),
    p50Ms: medianOf('p50Ms'),
    p99Ms: medianOf('p99Ms'),
    cpuMicrosPerDelivery: medianOf('cpuMicrosPerDelivery'),
    statuses: addStatuses(slices),
    /** The share of deliveries that were not answered with 200. */
    notOk: 1 - sumOf((slice) => slice.statuses['200'] ?? 0) / deliveries,
    runsPerMessage: runs / sumOf((slice) => slice.messages),
    mostAtOnce: Math.max(...slices.map((slice) => slice.mostAtOnce)),
    ...(variant.commits && { commitsPerOperation: sumOf((slice) => slice.commits) / (runs * OPERATIONS_PER_RUN) }),
  }
}

function addStatuses(slices) {
  const all = {}
  for (const { statuses } of slices) {
    for (const [status, count] of Object.entries(statuses)) all[status] = (all[status] ?? 0) + count
  }
  return all
}

function ratiosOf(pairs) {
  return pairs.map(({ bare, own }) => own.deliveriesPerSecond / bare.deliveriesPerSecond)
}

function rounded(number) {
  return Math.round(number * 10_000) / 10_000
}

/** How many times as fast one variant was as another, pair by pair: each against its own bare Express. */
export function gainOf({ ratios }, one, other) {
  return spread(ratios[one].map((ratio, index) => ratio / ratios[other][index]))
}

/** The median and the quartiles. */
function spread(numbers) {
  return { median: median(numbers), lower: quantile(numbers, 1 / 4), upper: quantile(numbers, 3 / 4) }
}

function median(numbers) {
  return quantile(numbers, 1 / 2)
}

/** Between two neighbours in proportion. */
function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]]
  return below + (above - below) * (at % 1)
}
