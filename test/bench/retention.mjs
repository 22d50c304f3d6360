/**
 * What many remembered messages cost: claims on a table that is almost empty and on one that is full, in slices that
 * alternate; and then claims while half of the full table is removed.
 *
 *   npm run bench:retention                                  # 1 000 000 messages, 500 claims a second
 *   npm run bench:retention -- --messages 100000 --rate 2000 --rounds 5 --seconds 2 --stores postgres,redis
 *
 * What is timed is one claim, group commit included, from the call to the beginning of its handler. The expired half
 * waits for the clean-up; on Redis it goes by itself, and the clean-up removes what points to it. It ends with exit
 * code 1 where the median is more than 1.2 times that of the empty table, or where during the removal the 99th
 * percentile is more than 2 times what it was before it.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { createSessionLock } from '../../dist/index.js'
import { openStore } from '../../dist/store/open.js'
import { inWorkshop, median, percentile, printTable, wholeNumber } from './workshop.mjs'

const MOST_TIMES_EMPTY = 1.2
const MOST_TIMES_BEFORE = 2
const LONG_MS = 24 * 3_600_000
/** Messages of one claim of the filling, and claims of one call. */
const FILLED = { messages: 20, claims: 50 }

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '1000000' },
    rate: { type: 'string', default: '500' },
    rounds: { type: 'string', default: '7' },
    seconds: { type: 'string', default: '2' },
    stores: { type: 'string', default: 'sqlite,mysql,postgres,redis' },
  },
})
const names = ['messages', 'rate', 'rounds', 'seconds']
const settings = Object.fromEntries(names.map((name) => [name, wholeNumber(values, name)]))

await inWorkshop(values.stores.split(','), async ({ urls, makeTemporaryDirectory }) => {
  const lines = [
    ['', 'empty p50', 'full p50', 'times', 'of a round', 'full p99', 'while removing p99', 'times', 'removed in'],
  ]
  for (const [store, url] of Object.entries(urls)) {
    const place = (name) => (store === 'sqlite' ? `sqlite:${makeTemporaryDirectory(name)}/bench.db` : url)
    lines.push(await measureStore(store, place))
    process.stderr.write(`${lines.at(-1).join('  ')}\n`)
  }
  const { messages, rate, rounds, seconds } = settings
  const title = `claims in ms, ${messages} messages in the full table, ${rate} claims a second, ${rounds} rounds of 4 slices of ${seconds} s`
  printTable(title, lines)
})

async function measureStore(store, place) {
  const [atEmpty, atFull] = ['empty', 'full'].map((name) => ({ url: place(name), tablePrefix: `bench_${name}_` }))
  const [empty, full] = [atEmpty, atFull].map(openLock)
  try {
    await Promise.all([empty.ready(), full.ready()])
    const { rounds, seconds, messages } = settings
    await fill(store, atFull, messages / 2, LONG_MS)
    const measuredForMs = (rounds * 4 + 4) * seconds * 1000
    const expiryAt = await fill(store, atFull, messages / 2, measuredForMs + 30_000 + messages / 10)
    await traffic(empty, seconds)
    await traffic(full, seconds)
    const found = await compare(store, empty, full)
    process.stderr.write(`${store}: waiting until half of it has expired\n`)
    await sleep(Math.max(0, expiryAt - Date.now()))
    const removal = await remove(store, full)
    return lineOf(store, found, removal)
  } finally {
    await Promise.all([empty.close(), full.close()])
  }
}

function openLock({ url, tablePrefix }) {
  return createSessionLock({ store: url, tablePrefix, cleanupEveryMs: 0, retentionMs: LONG_MS, logger: false })
}

/** Remembers so many messages, as handlers would; resolves to when the last of them will have expired. */
async function fill(name, { url, tablePrefix }, count, retentionMs) {
  const { store } = await openStore(url, { tablePrefix, timeoutMs: 60_000 })
  const atOnce = FILLED.messages * FILLED.claims
  for (let filled = 0; filled < count; filled += atOnce) {
    if (filled % 100_000 === 0) process.stderr.write(`${name}: ${filled} of ${count} messages\n`)
    const claims = Array.from({ length: FILLED.claims }, claimOfMany)
    const verdicts = await store.claim(claims)
    const settlements = claims.map(({ owner, nodeId, parts: [{ rows, messages }] }, index) => ({
      owner,
      nodeId,
      rows: rows.map(({ key }) => ({ key, fencingToken: verdicts[index][0].fencingToken })),
      messages,
      outcome: 'completed',
      retentionMs,
      error: null,
      response: null,
    }))
    await store.settle(settlements)
  }
  await store.close()
  return Date.now() + retentionMs
}

/** Keys of the length and shape that those of the WhatsApp Cloud API have. */
function claimOfMany() {
  const row = { key: `s:15:100000000000001${randomUUID()}`, prospect: '491700000000', device: '100000000000001' }
  const messages = Array.from({ length: FILLED.messages }, () => {
    const id = newMessageId()
    const key = `m:14:whatsapp-cloud15:100000000000001${id}`
    return { key, home: row.key, provider: 'whatsapp-cloud', device: '100000000000001', id }
  })
  const parts = [{ rows: [row], messages }]
  return { owner: randomUUID(), nodeId: 'filler', parts, whole: true, staleAfterMs: 30_000, tokenAbove: 0 }
}

function newMessageId() {
  return `wamid.${Buffer.from(randomUUID()).toString('base64')}`
}

/** Claims at an even rate for so long, or until the promise has settled; resolves to what each took, in ms. */
async function traffic(lock, seconds, until) {
  const times = []
  const pending = new Set()
  let over = false
  void until?.finally(() => {
    over = true
  })
  const startedAt = performance.now()
  for (let sent = 0; !over; ) {
    const elapsed = performance.now() - startedAt
    if (until === undefined && elapsed >= seconds * 1000) break
    for (const due = (elapsed * settings.rate) / 1000; sent < due; sent += 1) {
      const one = claimOnce(lock, times).finally(() => pending.delete(one))
      pending.add(one)
    }
    await sleep(1)
  }
  await Promise.all(pending)
  return times
}

async function claimOnce(lock, times) {
  const begunAt = performance.now()
  await lock.run({ messageId: newMessageId(), prospect: randomUUID(), device: '100000000000001' }, () => {
    times.push(performance.now() - begunAt)
  })
}

async function compare(store, empty, full) {
  const found = { empty: [], full: [], ratios: [] }
  for (let round = 1; round <= settings.rounds; round += 1) {
    process.stderr.write(`${store}: round ${round} of ${settings.rounds}\n`)
    const slices = []
    for (const lock of [empty, full, full, empty]) slices.push(await traffic(lock, settings.seconds))
    const of = { empty: [...slices[0], ...slices[3]], full: [...slices[1], ...slices[2]] }
    found.ratios.push(percentile(of.full, 0.5) / percentile(of.empty, 0.5))
    found.empty.push(...of.empty)
    found.full.push(...of.full)
  }
  return found
}

async function remove(store, lock) {
  process.stderr.write(`${store}: removing\n`)
  const before = await traffic(lock, settings.seconds * 4)
  const begunAt = performance.now()
  const cleaning = lock.cleanup()
  const during = await traffic(lock, 0, cleaning)
  return { before, during, seconds: (performance.now() - begunAt) / 1000, report: await cleaning }
}

function lineOf(store, { empty, full, ratios }, { before, during, seconds, report }) {
  const times = median(ratios)
  const timesBefore = percentile(during, 0.99) / percentile(before, 0.99)
  if (times > MOST_TIMES_EMPTY || timesBefore > MOST_TIMES_BEFORE) process.exitCode = 1
  const inMs = (list, share) => percentile(list, share).toFixed(2)
  return [
    store,
    inMs(empty, 0.5),
    inMs(full, 0.5),
    times.toFixed(2),
    `${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)}`,
    inMs(before, 0.99),
    inMs(during, 0.99),
    timesBefore.toFixed(2),
    `${report.messages} in ${seconds.toFixed(0)} s`,
  ]
}
