/**
 * 100 000 bodies that no provider would send, mutated from the samples of all: none is thrown at, none hangs,
 * and none takes longer than its size allows. `FUZZ_SEED` repeats a run.
 */
import { expect, it } from 'vitest'
import { type Identified, identify, providers } from '../../src/providers/index.ts'
import type { IncomingDelivery } from '../../src/providers/provider.ts'
import { seededRandom } from '../../src/testing/waiting.ts'
import { type Json, mutatedDelivery, sources } from './mutated-delivery.ts'

const BODIES = 100_000
const SEED = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31)

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
  const random = seededRandom(SEED)
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
