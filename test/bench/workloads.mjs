/** What is delivered, and in what order. */

/** How often each message is delivered at once in `duplicates`, as one that a provider sends from many places. */
const COPIES = 20

/** Of `mixed`: the share of deliveries that are redeliveries of what was answered before, and of messages sent twice at once. */
const REDELIVERED = 0.2
const TWICE_AT_ONCE = 0.03

/** A redelivery is of one of the last so many. */
const REMEMBERED = 10_000

/**
 * The workloads by name.
 *
 * `traffic`: which of {@link TRAFFIC} is sent; `processes`: over how many bots; `handlerMs`: how long their handlers
 * take; `connections`: instead of those asked for; `commits`: the store's own two commits are measured beside it.
 */
export const WORKLOADS = {
  different: { title: 'Different sessions', traffic: 'different' },
  hot: { title: 'One hot session, handlers of 1 ms', traffic: 'hot', handlerMs: 1 },
  duplicates: { title: `Duplicate storm: each message ${COPIES} times at once`, traffic: 'duplicates' },
  mixed: { title: '20 % redeliveries, 3 % of messages twice at once', traffic: 'mixed' },
  'two-processes': {
    title: '20 % redeliveries, 3 % of messages twice at once, over two bot processes',
    traffic: 'mixed',
    processes: 2,
  },
  latency: { title: 'Latency, different sessions', traffic: 'different', connections: [1, 8], commits: true },
}

/** How each is sent: `connections` deliver one message at a time; `phase` makes messages, and says when it is over. */
export const TRAFFIC = {
  different: (connections, phase) => eachByItself(connections, phase, () => phase.newMessage()),

  hot(connections, phase) {
    const person = phase.newPerson()
    return eachByItself(connections, phase, () => phase.newMessage(person))
  },

  async duplicates(connections, phase) {
    const groups = Array.from({ length: Math.ceil(connections.length / COPIES) }, (_, index) =>
      connections.slice(index * COPIES, (index + 1) * COPIES),
    )
    await Promise.all(
      groups.map(async (group) => {
        while (!phase.isOver()) {
          const message = phase.newMessage()
          await Promise.all(group.map((connection) => connection.deliver(message)))
        }
      }),
    )
  },

  mixed(connections, phase) {
    const answered = []
    let answers = 0
    const again = []
    const next = () => {
      const twin = again.pop()
      if (twin !== undefined) return twin
      if (answers > 0 && Math.random() < REDELIVERED) return answered[Math.floor(Math.random() * answered.length)]
      const message = phase.newMessage()
      if (Math.random() < TWICE_AT_ONCE) again.push(message)
      return message
    }
    return eachByItself(connections, phase, next, (message) => {
      answered[answers % REMEMBERED] = message
      answers += 1
    })
  },
}

/** How many connections a workload opens when so many were asked for: whole groups, where it has groups. */
export function connectionsOf(traffic, connections) {
  return traffic === 'duplicates' ? Math.max(1, Math.floor(connections / COPIES)) * COPIES : connections
}

async function eachByItself(connections, phase, next, answered = () => {}) {
  await Promise.all(
    connections.map(async (connection) => {
      while (!phase.isOver()) {
        const message = next()
        await connection.deliver(message)
        answered(message)
      }
    }),
  )
}
