/** Every sample is read as expected, without a hint, and is claimed by its own provider alone. */
import { describe, expect, it } from 'vitest'
import { bodiesOfEach } from '../../src/inbox/receive.ts'
import { identify, providers } from '../../src/providers/index.ts'
import { deliveryOf, expectedOf, sampledProviders, samplesOf } from './samples.ts'

it.each(providers.map(({ name }) => name))('%s has three samples or more', (name) => {
  expect(sampledProviders).toContain(name)
  expect(samplesOf(name).length).toBeGreaterThanOrEqual(3)
})

describe.each(sampledProviders)('%s', (provider) => {
  const expected = expectedOf(provider)

  it('has an expected reading of each sample, and no other', () => {
    expect(Object.keys(expected).sort()).toEqual(samplesOf(provider).sort())
  })

  const { reduce } = providers.find(({ name }) => name === provider) ?? {}
  if (reduce) {
    it('is taken apart by halves as it is message by message', () => {
      for (const [name, { length }] of Object.entries(expected)) {
        if (length === 0) continue
        const { body } = deliveryOf(provider, name)
        const each = Array.from({ length }, (_, position) => (length === 1 ? body : reduce(body, new Set([position]))))
        expect(bodiesOfEach(reduce, body, length), name).toEqual(each)
      }
    })
  }

  it.each(samplesOf(provider))('%s', (name) => {
    const delivery = deliveryOf(provider, name)
    const claimants = providers.filter((candidate) => candidate.recognises(delivery)).map((claimant) => claimant.name)
    expect(claimants).toEqual([provider])
    expect(identify(delivery)).toEqual({ provider, messages: expected[name] })
  })
})
