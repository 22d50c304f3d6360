/** Group commit: what arrives while a batch is written goes in the next, and one bad item harms only itself. */
import { expect, test } from 'vitest'
import { createBatches } from '../../src/engine/batches.ts'
import { nodePort } from '../../src/engine/port.ts'
import { StoreError } from '../../src/store/store.ts'

function batchesOf(write: (items: readonly string[]) => Promise<readonly string[]>, fullAt = Number.POSITIVE_INFINITY) {
  return createBatches<string, string>({
    port: nodePort,
    write,
    // `a1` and `a2` name the same row, `a`.
    addKeys: (item, keys) => keys.push(item[0] as string),
    maxItems: 4,
    fullAt,
    conflictsForMs: 200,
  })
}

function answer(items: readonly string[]): string[] {
  return items.map((item) => item.toUpperCase())
}

test('what comes together is written together, each item gets its own answer', async () => {
  const written: string[][] = []
  const batches = batchesOf(async (items) => {
    written.push([...items])
    return answer(items)
  })
  const verdicts = await Promise.all(['a', 'b', 'c', 'd', 'e'].map((item) => batches.submit(item)))
  expect(verdicts).toEqual(['A', 'B', 'C', 'D', 'E'])
  expect(written).toEqual([['a', 'b', 'c', 'd'], ['e']])
})

test('while one batch is written the next one gathers', async () => {
  const written: string[][] = []
  let finish = () => undefined as unknown
  const batches = batchesOf((items) => {
    written.push([...items])
    return new Promise((resolve) => {
      finish = () => resolve(answer(items))
    })
  })
  const first = batches.submit('a')
  await new Promise(setImmediate)
  const rest = ['b', 'c'].map((item) => batches.submit(item))
  await new Promise(setImmediate)
  expect(written).toEqual([['a']])
  finish()
  await first
  await new Promise(setImmediate)
  expect(written).toEqual([['a'], ['b', 'c']])
  finish()
  expect(await Promise.all(rest)).toEqual(['B', 'C'])
})

test('a large batch leaves at once, so that the store is at work while others still come', async () => {
  const written: string[][] = []
  const batches = batchesOf(async (items) => {
    written.push([...items])
    return answer(items)
  }, 2)
  const submitted = ['a', 'b', 'c', 'd', 'e'].map((item) => batches.submit(item))
  expect(written).toEqual([['a', 'b']])
  expect(await Promise.all(submitted)).toEqual(['A', 'B', 'C', 'D', 'E'])
  expect(written).toEqual([
    ['a', 'b'],
    ['c', 'd', 'e'],
  ])
  const next = ['f', 'g', 'h'].map((item) => batches.submit(item))
  expect(await Promise.all(next)).toEqual(['F', 'G', 'H'])
  expect(written.slice(2)).toEqual([['f', 'g'], ['h']])
})

test('two items of one key never share a batch, and keep their order', async () => {
  const written: string[][] = []
  const batches = batchesOf(async (items) => {
    written.push([...items])
    return answer(items)
  })
  await Promise.all(['a1', 'b1', 'a2', 'c1', 'a3', 'b2'].map((item) => batches.submit(item)))
  expect(written).toEqual([['a1', 'b1', 'c1'], ['a2', 'b2'], ['a3']])
})

test('a batch refused for its data is halved until the culprit stands alone', async () => {
  const batches = batchesOf(async (items) => {
    if (items.includes('c')) throw new StoreError('data', 'no c')
    return answer(items)
  })
  const results = await Promise.allSettled(['a', 'b', 'c', 'd'].map((item) => batches.submit(item)))
  expect(results.map((result) => (result.status === 'fulfilled' ? result.value : 'refused'))).toEqual([
    'A',
    'B',
    'refused',
    'D',
  ])
})

test('a batch that meets a deadlock is tried again in halves; one that never ends becomes an error', async () => {
  let conflicts = 1
  const tries: string[][] = []
  const batches = batchesOf(async (items) => {
    tries.push([...items])
    if (conflicts-- > 0) throw new StoreError('conflict', 'deadlock')
    return answer(items)
  })
  expect(await Promise.all(['a', 'b', 'c'].map((item) => batches.submit(item)))).toEqual(['A', 'B', 'C'])
  expect(tries).toEqual([['a', 'b', 'c'], ['a', 'b'], ['c']])
  conflicts = Number.POSITIVE_INFINITY
  await expect(batches.submit('d')).rejects.toMatchObject({ kind: 'unreachable', answerLost: false })
})

test('an item that keeps losing stands alone in the end: it holds up nobody, and nobody overtakes it on its key', async () => {
  let stillLosing = true
  const tries: string[][] = []
  const batches = batchesOf(async (items) => {
    tries.push([...items])
    if (stillLosing && items.includes('c1')) throw new StoreError('conflict', 'deadlock')
    return answer(items)
  })
  const loser = batches.submit('c1')
  expect(await Promise.all(['a', 'b', 'd'].map((item) => batches.submit(item)))).toEqual(['A', 'B', 'D'])
  const after = batches.submit('c2')
  expect(await Promise.all(['e', 'f'].map((item) => batches.submit(item)))).toEqual(['E', 'F'])
  stillLosing = false
  expect(await Promise.all([loser, after])).toEqual(['C1', 'C2'])
  const losses = tries.filter((items) => items.includes('c1'))
  expect(losses.at(-1)).toEqual(['c1'])
  expect(losses.filter((items) => items.length > 1).length).toBeLessThanOrEqual(2)
  expect(tries.at(-1)).toEqual(['c2'])
})

test('a batch whose answer was lost is repeated once', async () => {
  let lost = 1
  const batches = batchesOf(async (items) => {
    if (lost-- > 0) throw new StoreError('unreachable', 'cut off', { answerLost: true })
    return answer(items)
  })
  expect(await batches.submit('a')).toBe('A')
  lost = 2
  await expect(batches.submit('a')).rejects.toMatchObject({ answerLost: true })
})

test('where some items failed, each gets what became of it, and those whose answer was lost are repeated alone', async () => {
  const written: string[][] = []
  const down = new StoreError('unreachable', 'down')
  const lost = new StoreError('unreachable', 'cut off', { answerLost: true })
  const batches = batchesOf(async (items) => {
    written.push([...items])
    if (items.length === 2) return answer(items)
    const verdicts = ['A', down, lost, lost]
    throw new StoreError('unreachable', 'some failed', { answerLost: true, verdicts })
  })
  const results = await Promise.allSettled(['a', 'b', 'c', 'd'].map((item) => batches.submit(item)))
  expect(results.map((result) => (result.status === 'fulfilled' ? result.value : result.reason))).toEqual([
    'A',
    down,
    'C',
    'D',
  ])
  expect(written).toEqual([
    ['a', 'b', 'c', 'd'],
    ['c', 'd'],
  ])
})

test('where all items failed, each in its own way, none is repeated', async () => {
  const errors = ['unreachable', 'data'].map((kind) => new StoreError(kind as 'data', kind, { answerLost: true }))
  let calls = 0
  const batches = batchesOf(async () => {
    calls += 1
    throw new StoreError('unreachable', 'all failed', { verdicts: errors })
  })
  const results = await Promise.allSettled(['a', 'b'].map((item) => batches.submit(item)))
  expect(results.map((result) => (result as PromiseRejectedResult).reason)).toEqual(errors)
  expect(calls).toBe(1)
})

test('an answer that was lost stays lost, also where the repeat never arrives: what was written is to be given back', async () => {
  const errors = [true, false].map((answerLost) => new StoreError('unreachable', 'down', { answerLost }))
  const lost = batchesOf(async () => {
    throw errors.shift()
  })
  await expect(lost.submit('a')).rejects.toMatchObject({ kind: 'unreachable', answerLost: true })
  const partly = batchesOf(async (items) => {
    if (items.length === 1) throw new StoreError('unreachable', 'down')
    const verdicts = ['A', new StoreError('unreachable', 'cut off', { answerLost: true })]
    throw new StoreError('unreachable', 'some failed', { verdicts })
  })
  const results = await Promise.allSettled(['a', 'b'].map((item) => partly.submit(item)))
  expect(results).toMatchObject([{ value: 'A' }, { reason: { message: 'down', answerLost: true } }])
})

test('an answer that was lost in a conflict is told, however the repeat fails', async () => {
  const writes: Array<() => Promise<readonly string[]>> = [
    async () => {
      const verdicts = ['A', new StoreError('conflict', 'met another one', { answerLost: true })]
      throw new StoreError('conflict', 'some failed', { verdicts })
    },
    async () => {
      throw new StoreError('data', 'refused')
    },
  ]
  const batches = batchesOf(() => (writes.shift() as () => Promise<readonly string[]>)())
  const [a, b] = await Promise.allSettled(['a', 'b'].map((item) => batches.submit(item)))
  expect(a).toMatchObject({ status: 'fulfilled', value: 'A' })
  expect(b).toMatchObject({ status: 'rejected', reason: { kind: 'data', answerLost: true } })
})

test('an answer that was lost is told, whatever became of the repeat', async () => {
  const outcomes = [
    new StoreError('unreachable', 'cut off', { answerLost: true }),
    new StoreError('conflict', 'deadlock'),
    new StoreError('unreachable', 'refused'),
  ]
  const batches = batchesOf(async () => {
    throw outcomes.shift() ?? new Error('asked too often')
  })
  await expect(batches.submit('a')).rejects.toMatchObject({ message: 'refused', answerLost: true })
})

test('a wrong number of answers says nothing of any item: all are asked again, once', async () => {
  const written: string[][] = []
  const batches = batchesOf(async (items) => {
    written.push([...items])
    return written.length === 1 ? answer(items).slice(1) : answer(items)
  })
  expect(await Promise.all(['a', 'b', 'c'].map((item) => batches.submit(item)))).toEqual(['A', 'B', 'C'])
  expect(written).toEqual([
    ['a', 'b', 'c'],
    ['a', 'b', 'c'],
  ])
  const refused = await batchesOf(async () => [])
    .submit('d')
    .catch((error) => error)
  expect(refused).toMatchObject({ kind: 'unreachable', answerLost: true })
  expect(refused.message).toContain('gave 0 answers to 1 operations')
})
