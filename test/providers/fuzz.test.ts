/**
 * 100 000 bodies that no provider would send, mutated from the samples of all: none is thrown at, none hangs,
 * and none takes longer than its size allows. `FUZZ_SEED` repeats a run.
 */
import { expect, it } from 'vitest'
import { type Identified, identify, providers } from '../../src/providers/index.ts'
import type { IncomingDelivery } from '../../src/providers/provider.ts'
import { deliveryOf, sampledProviders, samplesOf } from './samples.ts'

const BODIES = 100_000
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31)

type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
type Random = () => number

/** Numbers of [0, 1) that only depend on the seed. */
function randomFrom(seed: number): Random {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

const deep = JSON.parse(`${'['.repeat(20_000)}${']'.repeat(20_000)}`) as Json
const deepObject = JSON.parse(`${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`) as Json
const hugeArray: Json[] = Array.from({ length: 20_000 }, (_, index) => (index % 3 === 0 ? { id: `${index}` } : index))
const hugeText = '_@:.,"\\'.repeat(20_000)

const hugeRaw = Buffer.from('{"message_token":1,"message_token" : '.repeat(30_000))

/** What may stand in the place of anything: rarely the big ones, whose size is what makes a run slow. */
const odd: readonly Json[] = [null, true, false, 'true', 0, -1, 1.5, 1e308, 2 ** 60, '', '0', ' ', 'null', '{', '[]']
const oddObjects: readonly Json[] = [[], {}, [[]], [null], { length: 3 }, { id: null }]
const oddKeys = JSON.parse('{"__proto__":{"id":"x","object":"event"},"constructor":1,"hasOwnProperty":2}') as Json
const big: readonly Json[] = [deep, deepObject, hugeArray, hugeText]

function pick<Item>(random: Random, items: readonly Item[]): Item {
  return items[Math.floor(random() * items.length)] as Item
}

function oddValue(random: Random): Json {
  const kind = random()
  if (kind < 0.01) return pick(random, big)
  if (kind < 0.1) return oddKeys
  return kind < 0.4 ? pick(random, oddObjects) : pick(random, odd)
}

/** The value, or something in its place. */
function mutated(random: Random, value: Json, rate: number): Json {
  if (random() < rate) return replaced(random, value)
  if (Array.isArray(value)) return value.map((item) => mutated(random, item, rate))
  if (typeof value !== 'object' || value === null) return value
  const copy: { [name: string]: Json } = {}
  for (const [name, field] of Object.entries(value)) {
    // Sometimes the field is missing; defined, not assigned, since a name may be `__proto__`.
    if (random() < rate / 2) continue
    Object.defineProperty(copy, name, { value: mutated(random, field, rate), enumerable: true, configurable: true })
  }
  return copy
}

function replaced(random: Random, value: Json): Json {
  const how = random()
  if (how < 0.2 && typeof value === 'number') return String(value)
  if (how < 0.2 && typeof value === 'string') return Number(value) || value.length
  if (how < 0.3) return [value]
  if (how < 0.4) return { value }
  if (how < 0.45 && Array.isArray(value)) return [...value, ...value]
  return oddValue(random)
}

/** Forms hold JSON in text: it is mutated there as well. */
function mutatedForm(random: Random, body: Json, rate: number): Json {
  const isForm = typeof body === 'object' && body !== null && 'payload' in body && typeof body['payload'] === 'string'
  if (!isForm || random() < 0.5) return mutated(random, body, rate)
  try {
    const payload = mutated(random, JSON.parse(body['payload'] as string) as Json, rate)
    return { ...body, payload: JSON.stringify(payload) }
  } catch {
    return mutated(random, body, rate)
  }
}

const sources = sampledProviders.flatMap((provider) => samplesOf(provider).map((name) => deliveryOf(provider, name)))

function mutatedDelivery(random: Random): IncomingDelivery {
  const source = pick(random, sources)
  const rate = pick(random, [0.01, 0.03, 0.1])
  const body = mutatedForm(random, source.body as Json, rate)
  const headers = random() < 0.9 ? source.headers : (mutated(random, source.headers as Json, 0.2) as never)
  const url = random() < 0.95 ? source.url : `${source.url}?%&=${pick(random, [hugeText, '__proto__=1', '#'])}`
  // Where the bytes do not belong to the body, whoever reads ids from them must notice.
  const rawBody = pick(random, [undefined, source.rawBody, random() < 0.01 ? hugeRaw : Buffer.from('{')])
  return { ...source, body, headers, url, rawBody }
}

/** About how many bytes it is, without a recursion that a deep one would break. */
function sizeOf(body: unknown): number {
  const open: unknown[] = [body]
  let bytes = 0
  while (open.length > 0) {
    const value = open.pop()
    bytes += typeof value === 'string' ? value.length + 2 : 4
    if (typeof value !== 'object' || value === null) continue
    for (const [name, field] of Object.entries(value)) {
      bytes += name.length
      open.push(field)
    }
  }
  return bytes
}

const FLOOR_MS = 50
const MS_PER_MB = 50

/** How long this size may take. */
function limitMs(bytes: number): number {
  return Math.max(FLOOR_MS, (bytes / 1e6) * MS_PER_MB)
}

/** How long it takes of the processor, which may have other work meanwhile; the best of several. */
function timed(delivery: IncomingDelivery, tries: number): number {
  let best = Number.POSITIVE_INFINITY
  for (let attempt = 0; attempt < tries; attempt++) {
    const before = process.cpuUsage()
    identify(delivery)
    const { user, system } = process.cpuUsage(before)
    best = Math.min(best, (user + system) / 1000)
  }
  return best
}

function isWellFormed(found: Identified | undefined): boolean {
  if (found === undefined) return true
  return providers.some(({ name }) => name === found.provider) && Array.isArray(found.messages)
}

it(`identifies ${BODIES} mutated bodies (seed ${SEED})`, { timeout: 120_000 }, () => {
  console.info(`fuzzing with FUZZ_SEED=${SEED}`)
  const random = randomFrom(SEED)
  let recognised = 0
  for (let body = 0; body < BODIES; body++) {
    const delivery = mutatedDelivery(random)
    const started = performance.now()
    let found: Identified | undefined
    try {
      found = identify(delivery)
    } catch (error) {
      throw new Error(`body ${body} of seed ${SEED} was thrown at`, { cause: error })
    }
    const took = performance.now() - started
    if (took > FLOOR_MS)
      expect(timed(delivery, 5)).toBeLessThanOrEqual(limitMs(sizeOf(delivery.body) + (delivery.rawBody?.length ?? 0)))
    if (found) recognised++
    if (!isWellFormed(found)) throw new Error(`body ${body} of seed ${SEED} was read as ${typeof found}`)
  }
  // Mutations that nobody recognises would test nothing.
  expect(recognised).toBeGreaterThan(BODIES / 4)
  expect(Object.prototype).not.toHaveProperty('id')
})

it('takes no longer than a body of three megabytes allows, whatever repeats in it', () => {
  for (const { body, ...rest } of sources) {
    const swollen = { ...rest, body: swell(body as Json) }
    if (timed(swollen, 1) <= FLOOR_MS) continue
    expect(timed(swollen, 5)).toBeLessThanOrEqual(limitMs(sizeOf(swollen.body)))
  }
})

it.each([
  [300_000, 1],
  [4000, 10],
])('takes no longer than its size allows, where lists of %i nothings stand in it %i times', (nothings, times) => {
  for (const { body, ...rest } of sources) {
    const full = { ...rest, body: fill(body as Json, nothings, times) }
    if (timed(full, 1) <= FLOOR_MS) continue
    expect(timed(full, 5)).toBeLessThanOrEqual(limitMs(sizeOf(full.body)))
  }
})

/** Every innermost list full of nothing, and every other one so many times as long. */
function fill(value: Json, nothings: number, times: number): Json {
  if (Array.isArray(value)) {
    const items = value.map((item) => fill(item, nothings, times))
    const isInnermost = !JSON.stringify(value).slice(1).includes('[')
    return isInnermost ? new Array<Json>(nothings).fill(0) : Array.from({ length: times }, () => items).flat()
  }
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, fill(field, nothings, times)]))
}

/** Every short list a thousand times as long. */
function swell(value: Json): Json {
  if (Array.isArray(value)) {
    const items = value.map(swell)
    return items.length === 0 || JSON.stringify(items).length > 3000
      ? items
      : Array.from({ length: 1000 }, () => items).flat()
  }
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, swell(field)]))
}
