/** What is going to happen in an episode, by its seed alone: a list of acts, of which some can be left out. */
import { seededRandom } from '../../dist/testing/waiting.js'
import { KINDS } from './weather.mjs'

const MESSAGES = 400
/** So long the traffic lasts, and the faults with it. */
const TRAFFIC_MS = 15_000

export function planOf(seed) {
  const random = seededRandom(seed)
  const upTo = (most) => Math.floor(random() * most)
  const kind = Object.keys(KINDS)[upTo(Object.keys(KINDS).length)]
  const sessions = 1 + upTo(16)
  const acts = []
  for (let number = 0; number < MESSAGES; ) {
    const many = random() < 0.85 ? 1 : 1 + upTo(4)
    const messages = Array.from({ length: many }, (_, index) => ({
      id: `m${number + index}`,
      prospect: `p${upTo(sessions)}`,
      device: 'bot',
    }))
    number += many
    const at = random() * TRAFFIC_MS
    acts.push({ at, act: 'deliver', messages, copies: random() < 0.3 ? 2 + upTo(3) : 1 })
  }
  for (const act of KINDS[kind].faults ?? []) {
    const times = upTo(12)
    for (let time = 0; time < times; time += 1) {
      acts.push({ at: random() * TRAFFIC_MS, act, node: upTo(4), session: upTo(sessions), share: random() })
    }
  }
  acts.sort((one, other) => one.at - other.at)
  return {
    seed,
    kind,
    nodes: 2 + upTo(3),
    longOnes: new Set(Array.from({ length: upTo(12) }, () => `m${upTo(MESSAGES)}`)),
    tells: random() < 0.5,
    acts,
  }
}
