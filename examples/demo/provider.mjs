/**
 * The sender, which behaves like Meta: whatever is not answered 2xx (refused, broken, not in time) is
 * delivered again, the same body, after a delay that grows, to whichever node the balancer chooses.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createRandom } from './random.mjs'
import { bodyOf, signatureOf } from './whatsapp.mjs'

/** The provider's ordinary patience. */
const PATIENCE_MS = 5000
const FIRST_DELAY_MS = 300
/** Meta's delays grow to hours; here somebody watches. */
const LONGEST_DELAY_MS = 2400

/**
 * @param nodes - the two nodes, as they are at the moment: one may be replaced
 * @param isOver - true: no more redeliveries, the demo has run out of time
 */
export function createProvider({ nodes, appSecret, seed, isOver }) {
  const counts = { deliveries: 0, accepted: 0, duplicates: 0, inFlight: 0, busy: 0, cut: 0, broken: 0, refused: 0 }
  let wanted = 0

  /** Delivers until it is answered 2xx. */
  async function deliver({ node, messages, cutAfterMs }, number) {
    const random = createRandom(seed + number)
    const body = bodyOf(messages)
    wanted += 1
    for (let attempt = 0; !isOver(); attempt++) {
      const patienceMs = attempt === 0 ? (cutAfterMs ?? PATIENCE_MS) : PATIENCE_MS
      if (await post(nodes[(node + attempt) % nodes.length].url, body, patienceMs)) {
        counts.accepted += 1
        return
      }
      const delayMs = Math.min(FIRST_DELAY_MS * 2 ** attempt, LONGEST_DELAY_MS)
      await sleep(delayMs * (0.8 + 0.4 * random.next()))
    }
  }

  /** One delivery; resolves to whether the provider is content. */
  async function post(url, body, patienceMs) {
    const headers = { 'Content-Type': 'application/json', 'X-Hub-Signature-256': signatureOf(body, appSecret) }
    counts.deliveries += 1
    try {
      const signal = AbortSignal.timeout(patienceMs)
      const response = await fetch(url, { method: 'POST', headers, body, signal })
      await response.arrayBuffer()
      count(response)
      return response.ok
    } catch (error) {
      counts[error.name === 'TimeoutError' ? 'cut' : 'broken'] += 1
      return false
    }
  }

  function count({ ok, headers }) {
    const said = headers.get('Session-Lock')
    if (said === 'duplicate') counts.duplicates += 1
    else if (said === 'in-flight') counts.inFlight += 1
    else if (said === 'busy') counts.busy += 1
    else if (!ok) counts.refused += 1
  }

  return { counts, deliver, unaccepted: () => wanted - counts.accepted }
}
