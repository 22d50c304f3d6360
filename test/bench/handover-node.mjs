/**
 * One process of those that want one session all the time.
 *
 * Argument: a JSON of `{ store, tablePrefix, nodeId }`. Standard input: a JSON a line, `{ waiters, holdMs }` to begin,
 * `{ stop: true }` to end. Standard output: `ready`, a line `turn <from> <until>` after each turn, and `stopped` with a
 * JSON of when the store was asked, a list of `[from, until]`. Milliseconds of a clock that all processes of the
 * machine share.
 */
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { createSessionLock } from '../../dist/index.js'
import { openStore } from '../../dist/store/open.js'

const { store: url, tablePrefix, nodeId } = JSON.parse(process.argv[2])
const { store } = await openStore(url, { tablePrefix, timeoutMs: 5000 })
const now = () => Number(process.hrtime.bigint()) / 1e6

let calls = []
const lock = createSessionLock({ store: timed(store), tablePrefix, nodeId, logger: false, lockWaitMs: 60_000 })
await lock.ready()
console.log('ready')

let stopped = false
let running = []
for await (const line of createInterface({ input: process.stdin })) {
  const { stop, waiters, holdMs } = JSON.parse(line)
  stopped = stop === true
  if (!stopped) running = Array.from({ length: waiters }, () => wantAlways(holdMs))
  else {
    await Promise.all(running)
    console.log(`stopped ${JSON.stringify(calls)}`)
    calls = []
  }
}

async function wantAlways(holdMs) {
  while (!stopped) {
    await lock.run({ session: 'wanted' }, async () => {
      const from = now()
      await sleep(holdMs)
      console.log(`turn ${from} ${now()}`)
    })
  }
}

/** The store itself, with the time that it takes. */
function timed(store) {
  const noted = (name) => async (items) => {
    const from = now()
    try {
      return await store[name](items)
    } finally {
      calls.push([from, now()])
    }
  }
  return Object.assign(Object.create(store), { claim: noted('claim'), settle: noted('settle') })
}
