/** What the run must show, and what it should: a machine that others use too may miss the second without a fault of ours. */
import { gainOf } from './summary.mjs'
import { STORES } from './variants.mjs'

/** Throughput of bare Express that is to be left, by connections and store. */
const LEAST_OF_BARE = {
  64: { memory: 0.92, sqlite: 0.88, redis: 0.88, postgres: 0.82, mariadb: 0.78 },
  256: { memory: 0.92, sqlite: 0.92, redis: 0.92, postgres: 0.92, mariadb: 0.92 },
}

/** From so many connections on, concurrent requests are enough to share commits. */
const MANY_CONNECTIONS = 64
const MOST_COMMITS_PER_OPERATION = 1 / 4
const LEAST_GAIN = 2

/** What protection may add to a lone request, over the store's own two commits. */
const MOST_OVER_COMMITS_MS = 0.3

/** Each `{ text, met, must }`; `must`: the run has failed where it is not met. */
export function expectationsOf(scenario) {
  const ours = scenario.rows.filter(({ kind }) => kind === 'ours')
  return [
    ...scenario.rows.filter(({ kind }) => kind === 'ours' || kind === 'single').flatMap(rightAnswers(scenario)),
    ...(scenario.workload === 'different' ? ours.flatMap((row) => throughput(scenario, row)) : []),
    ...ours.filter(({ twoCommitsMs }) => twoCommitsMs).map(lowLatency),
  ]
}

function rightAnswers({ workload }) {
  return (row) => [
    ...(workload === 'different'
      ? [{ must: true, met: row.notOk === 0, text: `${row.key}: every answer 200 (${JSON.stringify(row.statuses)})` }]
      : []),
    {
      must: true,
      met: row.runsPerMessage <= 1,
      text: `${row.key}: no message handled twice (${row.runsPerMessage.toFixed(3)} runs a message)`,
    },
    ...(workload === 'hot'
      ? [
          {
            must: true,
            met: row.mostAtOnce === 1,
            text: `${row.key}: one at a time (at most ${row.mostAtOnce} at once)`,
          },
        ]
      : []),
  ]
}

function throughput(scenario, row) {
  const { connections, rows } = scenario
  const least = LEAST_OF_BARE[connections]?.[row.store]
  const sameStore = rows.filter(({ store, kind }) => store === row.store && kind !== 'ours')
  const expected = least
    ? [
        {
          met: row.ofBare.median >= least,
          text: `${row.key}: ${two(row.ofBare.median)} of bare Express, at least ${least}`,
        },
      ]
    : []
  // In memory there is no server that both would share.
  if (connections < MANY_CONNECTIONS || row.store === 'memory') return expected
  for (const other of sameStore) {
    const gain = gainOf(scenario, row.key, other.key)
    const times = `${row.key}: ${two(gain.median)} times (${two(gain.lower)}–${two(gain.upper)}) ${other.name}`
    const isTwice = other.kind === 'single' || other.kind === 'transaction'
    const met = isTwice ? gain.median >= LEAST_GAIN : gain.median > 1
    expected.push({
      must: other.kind === 'single',
      met,
      text: `${times}, ${isTwice ? `at least ${LEAST_GAIN}` : 'more than 1'}`,
    })
  }
  if (row.commitsPerOperation) {
    const operations = (1 / row.commitsPerOperation).toFixed(1)
    const text = `${row.key}: one commit for ${operations} claims and settlements, more than ${1 / MOST_COMMITS_PER_OPERATION}`
    expected.push({ must: true, met: row.commitsPerOperation < MOST_COMMITS_PER_OPERATION, text })
  }
  return expected
}

function lowLatency({ key, store, addedP50Ms, twoCommitsMs }) {
  const most = twoCommitsMs.alone.median + MOST_OVER_COMMITS_MS
  const added = `adds ${two(addedP50Ms.median)} ms to p50, at most ${two(most)}`
  const text = `${key}: ${added} (two commits on ${STORES[store]} by the bare driver, and ${MOST_OVER_COMMITS_MS})`
  return { met: addedP50Ms.median <= most, text }
}

function two(number) {
  return number.toFixed(2)
}
