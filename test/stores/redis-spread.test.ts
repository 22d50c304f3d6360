/** Claims and settlements of several buckets, broken off at every step: what is left over, and what a repeat finds. */
import { describe, expect, test } from 'vitest'
import type { Buckets } from '../../src/store/redis-buckets.ts'
import { claimSpread, lookSpread } from '../../src/store/redis-claim-spread.ts'
import { listMessages, listSessions } from '../../src/store/redis-inspect.ts'
import { type Run, readScripts, runOn } from '../../src/store/redis-scripts.ts'
import { releaseSpread, settleSpread } from '../../src/store/redis-settle-spread.ts'
import { type Claim, type ClaimVerdict, type Settlement, StoreError } from '../../src/store/store.ts'
import { refusal, useRedisWorld } from './redis-world.ts'

const world = useRedisWorld()
/** The rows, by their buckets; the messages at home beside the first two. */
const ROWS = ['1 session', '0 twin', '2 other name'] as const
const MESSAGES = [
  { key: 'm1', home: ROWS[0] },
  { key: 'm2', home: ROWS[1] },
]
const CLAIM: Claim = {
  owner: 'owner',
  nodeId: 'node',
  parts: [
    {
      rows: ROWS.map((key) => ({ key, prospect: null, device: null })),
      messages: MESSAGES.map((address) => ({ ...address, provider: 'p', device: null, id: address.key })),
    },
  ],
  whole: true,
  staleAfterMs: 60_000,
  tokenAbove: 0,
}

/** From one call on none arrives; or that one does, and its answer is lost; or it is the only one that does not. */
type Break = 'none arrives' | 'its answer is lost' | 'it alone does not arrive'

interface BrokenBuckets extends Buckets {
  /** The first call is 0. */
  breakAt(call: number, how: Break): void
  /** How many calls there were since they were mended. */
  mend(): number
}

/** Three buckets on the tests' server; a row's key begins with the number of its bucket. */
async function openBuckets(): Promise<BrokenBuckets> {
  const client = world.client()
  const scripts = await readScripts()
  let calls = 0
  let broken: { call: number; how: Break } | undefined
  const runIn =
    (bucket: number): Run =>
    async (script, args) => {
      const run = runOn(
        (command, all) => client.callBuffer(command, ...all),
        scripts,
        `${world.tablePrefix}{${bucket}}`,
      )
      const call = calls++
      const isAfter = broken !== undefined && call > broken.call && broken.how !== 'it alone does not arrive'
      if (call !== broken?.call && !isAfter) return run(script, args)
      const arrives = call === broken?.call && broken.how === 'its answer is lost'
      if (arrives) await run(script, args)
      throw new StoreError('unreachable', 'cut off', { answerLost: arrives })
    }
  return {
    count: 3,
    of: (key) => Number(key[0]),
    in: runIn,
    breakAt(call, how) {
      calls = 0
      broken = { call, how }
    },
    mend() {
      broken = undefined
      const made = calls
      calls = 0
      return made
    },
  }
}

async function claimAs(buckets: Buckets, owner: string, changes: Partial<Claim> = {}): Promise<ClaimVerdict> {
  const [verdict] = await claimSpread(buckets, [{ ...CLAIM, owner, ...changes }])
  return verdict as ClaimVerdict
}

async function acquireAs(buckets: Buckets, owner: string): Promise<number> {
  const [part] = await claimAs(buckets, owner)
  if (part?.outcome !== 'acquired') throw new Error(`not acquired: ${part?.outcome}`)
  return part.fencingToken
}

function settlementOf(owner: string, fencingToken: number): Settlement {
  return {
    ...{ owner, nodeId: 'node', outcome: 'completed', retentionMs: 60_000, error: null, response: null },
    rows: ROWS.map((key) => ({ key, fencingToken })),
    messages: CLAIM.parts[0]?.messages ?? [],
  }
}

const rowsLeft = async (buckets: Buckets) => (await listSessions(buckets, { limit: 9 })).map(({ key }) => key)
const doneBy = async (buckets: Buckets) =>
  (await listMessages(buckets, { limit: 9 })).map(({ key, owner, attempts }) => [key, owner, attempts]).sort()

/** More than there are. */
const CALLS = 8
const BREAKS: readonly Break[] = ['none arrives', 'its answer is lost', 'it alone does not arrive']
const STEPS = Array.from({ length: CALLS }, (_, call) => BREAKS.map((how) => ({ call, how }))).flat()

describe.each(STEPS)('broken off at call $call: $how', ({ call, how }) => {
  test('a claim is had by its repeat, under one token, and settled', async () => {
    const buckets = await openBuckets()
    buckets.breakAt(call, how)
    await claimAs(buckets, 'o1').catch(() => undefined)
    buckets.mend()
    const token = await acquireAs(buckets, 'o1')
    expect((await listSessions(buckets, { limit: 9 })).map((row) => row.fencingToken)).toEqual([token, token, token])
    expect((await claimAs(buckets, 'o2'))[0]?.outcome).toBe('held')
    expect(await rowsLeft(buckets)).toHaveLength(3)
    expect(await settleSpread(buckets, [settlementOf('o1', token)])).toEqual(['contended'])
    expect(await rowsLeft(buckets)).toEqual([])
  })

  test('a claim that is refused leaves nothing after its repeat', async () => {
    const buckets = await openBuckets()
    const [last] = await claimSpread(buckets, [
      { ...CLAIM, parts: [{ rows: CLAIM.parts[0]?.rows.slice(2) ?? [], messages: [] }] },
    ])
    expect(last?.[0]?.outcome).toBe('acquired')
    buckets.breakAt(call, how)
    await claimAs(buckets, 'o1').catch(() => undefined)
    buckets.mend()
    // As the engine gives back what it does not know of.
    expect((await claimAs(buckets, 'o1', { whole: false }))[0]?.outcome).toBe('held')
    expect(await rowsLeft(buckets)).toEqual([ROWS[2]])
  })

  test('rows without messages are all free after the repeat of their settlement', async () => {
    const buckets = await openBuckets()
    const token = await acquireAs(buckets, 'o1')
    const released = { ...settlementOf('o1', token), outcome: 'released', messages: [] } as const
    buckets.breakAt(call, how)
    await settleSpread(buckets, [released]).catch(() => undefined)
    buckets.mend()
    await settleSpread(buckets, [released])
    expect(await rowsLeft(buckets)).toEqual([])
  })

  test('a settlement is finished by its repeat, and counts once', async () => {
    const buckets = await openBuckets()
    const token = await acquireAs(buckets, 'o1')
    buckets.breakAt(call, how)
    await settleSpread(buckets, [settlementOf('o1', token)]).catch(() => undefined)
    buckets.mend()
    expect(await settleSpread(buckets, [settlementOf('o1', token)])).toEqual(['settled'])
    expect(await rowsLeft(buckets)).toEqual([])
    expect(await doneBy(buckets)).toEqual([
      ['m1', 'o1', 1],
      ['m2', 'o1', 1],
    ])
  })

  test('a settlement that somebody comes before completes nothing of his', async () => {
    const buckets = await openBuckets()
    const token = await acquireAs(buckets, 'o1')
    buckets.breakAt(call, how)
    await settleSpread(buckets, [settlementOf('o1', token)]).catch(() => undefined)
    buckets.mend()
    const before = await lookSpread(buckets, MESSAGES)
    await releaseSpread(buckets, ROWS, {})
    const [next] = await claimAs(buckets, 'o2')
    const late = await settleSpread(buckets, [settlementOf('o1', token)])
    if (next?.outcome === 'acquired') {
      expect(next.completed.map(({ key }) => key)).toEqual(before.map(({ key }) => key))
      expect(next.fencingToken).toBeGreaterThan(token)
      expect(late).toEqual(['lost'])
      expect(await rowsLeft(buckets)).toHaveLength(3)
      expect(await settleSpread(buckets, [settlementOf('o2', next.fencingToken)])).toEqual(['settled'])
      expect((await doneBy(buckets))[1]).toEqual(['m2', 'o2', 1])
    } else {
      expect([next?.outcome, late]).toEqual(['completed', ['settled']])
      expect((await doneBy(buckets)).map(([, owner]) => owner)).toEqual(['o1', 'o1'])
    }
  })
})

test('the steps are enough', async () => {
  const buckets = await openBuckets()
  const token = await acquireAs(buckets, 'o1')
  expect(buckets.mend()).toBeLessThan(CALLS)
  await settleSpread(buckets, [settlementOf('o1', token)])
  expect(buckets.mend()).toBeLessThan(CALLS)
  buckets.breakAt(0, 'none arrives')
  expect((await refusal(claimAs(buckets, 'o1'))).answerLost).toBe(false)
})
