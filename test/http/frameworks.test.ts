/** One behaviour on every framework. */
import { afterEach, describe } from 'vitest'
import { testBehaviour } from './behaviour.ts'
import { frameworks } from './frameworks.ts'

const closers: Array<() => Promise<void>> = []

afterEach(async () => {
  await Promise.all(closers.splice(0).map((close) => close()))
})

describe.each(frameworks.map((framework) => [framework.name, framework] as const))('%s', (_, framework) => {
  testBehaviour(framework, (close) => closers.push(close))
})
