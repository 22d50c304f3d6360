/** Every sample is read as expected, without a hint, and is claimed by its own provider alone. */
import { describe, expect, it } from 'vitest'
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

  it.each(samplesOf(provider))('%s', (name) => {
    const delivery = deliveryOf(provider, name)
    const claimants = providers.filter((candidate) => candidate.recognises(delivery)).map((claimant) => claimant.name)
    expect(claimants).toEqual([provider])
    expect(identify(delivery)).toEqual({ provider, messages: expected[name] })
  })
})
