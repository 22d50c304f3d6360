/**
 * A database's transactions for handlers, in virtual time: locks that live as long as a connection, and writes that are
 * there when their transaction is committed, or never.
 */

/** How long the database takes to notice that a process is gone. */
const NOTICED_MS = 30

export function createDatabase({ clock, random, store, judge, attempt, StoreError }) {
  /** Who has the lock of a row, by its key. */
  const locks = new Map()
  const open = new Set()

  function free(transaction) {
    open.delete(transaction)
    for (const [key, holder] of locks) if (holder === transaction) locks.delete(key)
  }

  /** All of these locks, or none. */
  function tryLock(transaction, keys) {
    const held = keys.filter((key) => locks.has(key))
    if (held.length === 0) for (const key of keys) locks.set(key, transaction)
    return held
  }

  function begin(process, keys, waitMs) {
    return new Promise((resolve, reject) => {
      const transaction = { process, writes: [] }
      open.add(transaction)
      const until = clock.now() + waitMs
      const look = () => {
        if (!open.has(transaction)) return
        const held = tryLock(transaction, keys)
        if (held.length > 0 && clock.now() < until) clock.at(clock.now() + 5, look)
        else
          process.receive(
            () => (open.has(transaction) ? resolve(begunBy(transaction, held)) : reject(gone())),
            random() * 2,
          )
      }
      clock.at(clock.now() + random() * 3, look)
    })
  }

  const gone = (answerLost = false) => new StoreError('unreachable', 'simulated: connection lost', { answerLost })

  function begunBy(transaction, held) {
    const { process } = transaction
    let markLost
    let markEnded
    const lost = new Promise((resolve) => (markLost = resolve))
    const ended = new Promise((resolve) => (markEnded = resolve))
    const end = () => {
      free(transaction)
      process.receive(markEnded)
    }
    transaction.breaks = () => {
      if (!open.has(transaction)) return
      end()
      process.receive(markLost)
    }
    /** Every row is this owner's still: then all of it is written, at once. */
    async function commit(settlements) {
      const rows = settlements.flatMap(({ owner, rows }) => rows.map((row) => ({ owner, ...row })))
      const found = await store.sessions({ keys: rows.map(({ key }) => key), limit: 1000 })
      const isMine = ({ key, owner, fencingToken }) =>
        found.some((row) => row.key === key && row.owner === owner && row.fencingToken === fencingToken)
      if (!rows.every(isMine)) return settlements.map(() => 'lost')
      const verdicts = await store.settle(settlements)
      attempt(() => {
        judge.executed(process, 'settle', [settlements], verdicts)
        judge.committed(transaction.writes)
      })
      return verdicts
    }
    return {
      held,
      transaction: {
        tx: { query: async (id) => void transaction.writes.push(id) },
        lost,
        ended,
        settle: (settlements) =>
          new Promise((resolve, reject) => {
            clock.at(clock.now() + random() * 3, () => {
              if (!open.has(transaction)) {
                process.receive(() => reject(gone()))
                return
              }
              // The connection breaks: before the COMMIT is read, or after it is done.
              if (random() < 0.03) {
                end()
                process.receive(() => reject(gone(true)))
                return
              }
              void commit(settlements).then((verdicts) => {
                end()
                const isLost = random() < 0.03
                process.receive(() => (isLost ? reject(gone(true)) : resolve(verdicts)), random() * 3)
              })
            })
          }),
        rollback: () =>
          new Promise((resolve) => {
            clock.at(clock.now() + random() * 3, () => {
              if (open.has(transaction)) end()
              process.receive(resolve)
            })
          }),
        cut: () => transaction.breaks(),
      },
    }
  }

  return {
    of: (process) => ({ check: async () => {}, begin: (keys, waitMs) => begin(process, keys, waitMs) }),
    /** Its connections are gone. */
    killed(process) {
      clock.at(clock.now() + NOTICED_MS, () => {
        for (const transaction of [...open]) if (transaction.process === process) free(transaction)
      })
    },
    /** Some connection breaks, for no reason that anybody knows. */
    cutOne() {
      const all = [...open]
      all[Math.floor(random() * all.length)]?.breaks?.()
    },
  }
}
