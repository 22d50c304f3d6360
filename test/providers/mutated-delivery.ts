/** Deliveries that no provider would send, mutated from the samples of all. */
import type { IncomingDelivery } from '../../src/providers/provider.ts'
import { deliveryOf, sampledProviders, samplesOf } from './samples.ts'

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json }
export type Random = () => number

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

export function pick<Item>(random: Random, items: readonly Item[]): Item {
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

/** The samples themselves. */
export const sources = sampledProviders.flatMap((provider) =>
  samplesOf(provider).map((name) => deliveryOf(provider, name)),
)

/** One of them, changed in a few places: in its body, headers, URL or raw bytes. */
export function mutatedDelivery(random: Random): IncomingDelivery {
  const source = pick(random, sources)
  const rate = pick(random, [0.01, 0.03, 0.1])
  const body = mutatedForm(random, source.body as Json, rate)
  const headers = random() < 0.9 ? source.headers : (mutated(random, source.headers as Json, 0.2) as never)
  const url = random() < 0.95 ? source.url : `${source.url}?%&=${pick(random, [hugeText, '__proto__=1', '#'])}`
  // Where the bytes do not belong to the body, whoever reads ids from them must notice.
  const rawBody = pick(random, [undefined, source.rawBody, random() < 0.01 ? hugeRaw : Buffer.from('{')])
  return { ...source, body, headers, url, rawBody }
}
