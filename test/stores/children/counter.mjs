/**
 * One process of the race: adds to a number in a file, unguarded but for the lease.
 *
 * Arguments: store URL, table prefix, counter file, how often to add (0: acquire, say so, and hang).
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { openStore } from '../../../dist/store/open.js'
import { StoreError } from '../../../dist/store/store.js'

const [url, tablePrefix, counterFile, times] = process.argv.slice(2)
const { store } = await openStore(url, { tablePrefix, timeoutMs: 10_000 })
const nodeId = `node-${process.pid}`
const staleAfterMs = 1500

await store.migrate()
console.log('ready')
await once(process.stdin, 'data')
if (times === '0') {
  const { fencingToken } = await acquire([])
  console.log(`holding ${fencingToken}`)
  // Until it is killed; standard input alone would keep it for as long as the test lives.
  await new Promise((resolve) => setTimeout(resolve, 600_000))
}
for (let turn = 0; turn < Number(times); turn++) await addOne(`${process.pid} ${turn}`)
await store.close()
console.log('done')
process.exit(0)

async function addOne(id) {
  const messages = [{ key: `message ${id}`, provider: 'test', device: null, id }]
  const { owner, fencingToken } = await acquire(messages)
  const read = Number(await readFile(counterFile, 'utf8'))
  await sleep(Math.random() * 2)
  await writeFile(counterFile, String(read + 1))
  const rows = [{ key: 'counter', fencingToken }]
  const ending = {
    owner,
    nodeId,
    rows,
    messages,
    outcome: 'completed',
    retentionMs: 60_000,
    error: null,
    response: null,
  }
  const [verdict] = await repeatOnConflict(() => store.settle([ending]))
  console.log(`${verdict === 'lost' ? verdict : 'settled'} ${fencingToken}`)
}

async function acquire(messages) {
  const owner = randomUUID()
  const parts = [{ rows: [{ key: 'counter', prospect: null, device: null }], messages }]
  const claim = { owner, nodeId, parts, whole: true, staleAfterMs, tokenAbove: 0 }
  for (;;) {
    const [[verdict]] = await repeatOnConflict(() => store.claim([claim]))
    if (verdict.outcome === 'acquired') return { owner, fencingToken: verdict.fencingToken }
    if (verdict.outcome !== 'held') throw new Error(`the claim is ${verdict.outcome}`)
    await sleep(Math.random() * 5)
  }
}

async function repeatOnConflict(call) {
  for (let tries = 1; ; tries++) {
    try {
      return await call()
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== 'conflict' || tries === 100) throw error
    }
    await sleep(Math.random() * 5)
  }
}
