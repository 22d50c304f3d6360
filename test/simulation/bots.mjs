/** The two kinds of bots: one that handles before it answers, and one that answers out of its inbox. */
import { Violation } from './judge.mjs'

const FAILURE = new Error('simulated')

/** `deliver` resolves to whether the provider is told that all is well. */
export function leaseBot(world, process, lock) {
  const { judge, random, say, now } = world

  async function deliver(messages) {
    const askedAt = now()
    const ids = messages.map(({ id }) => id)
    let claimed
    try {
      claimed = await lock.claim({ provider: 'simulated', messages }, { lockWaitMs: random() < 0.2 ? 0 : 1000 })
    } catch {
      return false
    }
    if (claimed.outcome !== 'acquired') {
      const outcome = claimed.of ?? claimed.outcome
      say(`${process.name} answers ${ids}: ${outcome}`)
      judge.answered(ids, outcome, askedAt, process)
      return outcome === 'completed'
    }
    const { hold } = claimed
    const duplicates = hold.duplicates.map((position) => ids[position])
    const fresh = hold.fresh.map((position) => ids[position])
    judge.answered(duplicates, 'completed', askedAt)
    judge.started(hold.leases, fresh)
    for (const { tx, messageIds } of hold.leases) if (tx) for (const id of messageIds) await tx.query(id)
    const result = await handle(world, process, hold.signal, hold.leases, fresh)
    judge.ended(hold.leases, fresh, result)
    const settled = hold.settle(result === 'completed' ? { status: result } : { status: 'failed', error: FAILURE })
    void settled.then(() => judge.over(fresh))
    // Until then nobody knows whether what it wrote is there.
    if (hold.leases.some(({ tx }) => tx)) await settled
    if (result !== 'completed' || hold.rolledBack) return false
    judge.answered(fresh, 'handled', askedAt)
    return hold.withheld === null
  }

  return { deliver, stop: async () => {} }
}

export function inboxBot(world, process, lock, createInbox) {
  const { judge, say, blame } = world
  const inbox = createInbox({
    lock,
    concurrency: 4,
    maxAttempts: 1000,
    retryAfterMs: 50,
    retryMostMs: 500,
    pollMs: 100,
    async handler(messages, lease) {
      const ids = messages.map(({ id }) => id)
      try {
        judge.started([lease], ids)
        judge.began(ids)
        const result = await handle(world, process, lease.signal, [lease], ids)
        judge.ended([lease], ids, result)
        judge.over(ids)
        if (result !== 'completed') throw FAILURE
      } catch (error) {
        if (error instanceof Violation) blame(error)
        throw error
      }
    },
  })
  void inbox.start()

  async function deliver(messages) {
    const ids = messages.map(({ id }) => id)
    judge.sent(ids)
    let accepted
    try {
      accepted = await inbox.accept({ provider: 'simulated', messages }, {})
    } catch {
      return false
    }
    say(`${process.name} answers ${ids}: ${accepted}`)
    judge.accepted(ids)
    return true
  }

  return { deliver, stop: () => inbox.stop() }
}

/** Takes its time, looks at its signal, and fails now and then. */
async function handle({ judge, random, plan, say, longMs }, process, signal, leases, ids) {
  const isLong = ids.some((id) => plan.longOnes.has(id))
  const forMs = isLong ? longMs * (1 + random()) : random() * 60
  const steps = isLong ? 6 : 2
  let result
  for (let step = 0; step < steps && !result; step += 1) {
    await process.sleep(forMs / steps)
    judge.looked(signal, leases, process)
    if (signal.aborted && random() < 0.5) result = 'aborted'
  }
  result ??= random() < 0.1 ? 'failed' : 'completed'
  say(`${process.name} has handled ${ids}: ${result}`)
  return result
}
