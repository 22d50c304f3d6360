/**
 * What is sent, when, and to which node: all of it chosen from the seed before anything runs, so that
 * both modes get the same.
 */
import { createRandom } from './random.mjs'
import { wamid } from './whatsapp.mjs'

/** First deliveries are spread over this time. */
const TRAFFIC_MS = 14_000
/** When the message is sent in whose handler a node is killed. */
const VICTIM_AT_MS = 5000
const VICTIM_THINKS_MS = 1600

/**
 * @returns `messages`: all there are; `victim`: the one in whose handler its node is to be killed;
 *   `deliveries`, in the order of `atMs`: each `{ atMs, node, messages }`, and `cutAfterMs` where the
 *   provider loses patience and closes the connection at the first try.
 */
export function planTraffic(seed) {
  const random = createRandom(seed)
  const messages = []
  const deliveries = []
  let prospects = 0

  const newProspect = () => `4915${String(550_000_000 + ++prospects)}`
  const someTime = () => random.between(0, TRAFFIC_MS)
  const someNode = () => random.between(0, 1)
  const send = (atMs, node, sent, more = {}) => deliveries.push({ atMs, node, messages: sent, ...more })
  const times = (count, scene) => {
    for (let done = 0; done < count; done++) scene(someTime(), someNode(), done)
  }

  function write(prospect, thinkMs) {
    const message = { id: wamid(prospect, random), prospect, thinkMs }
    messages.push(message)
    return message
  }

  /** Most of what a bot gets: one message, delivered once. */
  const regulars = Array.from({ length: 60 }, newProspect)
  times(140, (atMs, node) => send(atMs, node, [write(regulars[random.between(0, 59)], random.between(30, 250))]))

  /** The same message on both nodes at the same instant. */
  times(40, (atMs) => {
    const message = write(newProspect(), random.between(50, 400))
    send(atMs, 0, [message])
    send(atMs, 1, [message])
  })

  /** The provider has no patience: it closes the connection while the handler runs, and comes again. */
  times(20, (atMs, node, done) => {
    const thinkMs = done % 4 === 0 ? 2600 : 900
    send(atMs, node, [write(newProspect(), thinkMs)], { cutAfterMs: 300 })
  })

  /** The answer got lost: a handled message comes again, on the other node. */
  times(25, (atMs, node) => {
    const message = write(newProspect(), random.between(30, 200))
    send(atMs, node, [message])
    send(atMs + random.between(600, 1500), 1 - node, [message])
  })

  /** Two different messages of one person in quick succession. */
  times(30, (atMs, node) => {
    const prospect = newProspect()
    send(atMs, node, [write(prospect, random.between(150, 450))])
    send(atMs + random.between(5, 80), 1 - node, [write(prospect, random.between(30, 150))])
  })

  /** The same, while the bot thinks about the first for so long that the second has to come again. */
  times(8, (atMs, node) => {
    const prospect = newProspect()
    send(atMs, node, [write(prospect, random.between(1500, 2500))])
    send(atMs + random.between(100, 300), 1 - node, [write(prospect, random.between(30, 150))])
  })

  /** Several messages of several persons in one POST; every other one on both nodes at once; later one that mixes old and new. */
  times(8, (atMs, node, done) => {
    const [one, two, three] = [newProspect(), newProspect(), newProspect()]
    const batch = [one, two, one, three].map((prospect) => write(prospect, random.between(20, 80)))
    send(atMs, node, batch)
    if (done % 2 === 0) send(atMs, 1 - node, batch)
    send(atMs + 2000, 1 - node, [batch[0], write(one, random.between(20, 80))])
  })

  const victim = write(newProspect(), VICTIM_THINKS_MS)
  send(VICTIM_AT_MS, 1, [victim])
  deliveries.sort((one, other) => one.atMs - other.atMs)
  return { messages, deliveries, victim }
}
