/**
 * Judges what it sees: what the store was asked and said, which handlers ran, and what providers were answered. It shares
 * no code with the engine, and believes nobody: of each verdict it knows by itself whether it may be.
 */

/** What a promise of the design was broken by. */
export class Violation extends Error {
  constructor(promise, text) {
    super(`${promise}: ${text}`)
    this.promise = promise
  }
}

/** So old may be what a process knows of a message in the hands of another: it asks again at the latest by then. */
const HEARSAY_MS = 1500
/** While calls of the store fail, it cannot. */
const OLD_HEARSAY_MS = 15_000

/** `now`: true time. `storeNow`: the store's clock. `isGentle`: nothing happens that could cost a lease its holder. */
export function createJudge({ now, storeNow, isGentle, retentionMs }) {
  /** By owner and first row. */
  const leases = new Map()
  /** The lease that has this row now, by the row's key. */
  const holders = new Map()
  const largestTokens = new Map()
  /** By the key of a message: until when it may not be handled again. */
  const completed = new Map()
  const keys = new Map()
  /** By the id of a message: whose lease it was in last, and since when it is in nobody's. */
  const held = new Map()
  const succeeded = new Map()
  const acknowledged = new Set()
  /** By the id of a message: how many providers ask for it just now. */
  const asking = new Map()
  /** By the id of a message: how many handlers, alive or not, have begun and are not settled. */
  const running = new Map()
  /** Of messages in the inbox: which are in there, whose session's, and when they were sent first and acknowledged. */
  const stored = new Set()
  const sessions = new Map()
  const sentAt = new Map()
  const acceptedAt = new Map()
  /** Messages whose handler's writes are committed. */
  const committed = new Set()
  const hearsayMs = isGentle ? HEARSAY_MS : OLD_HEARSAY_MS
  /** How often the store's clock has leapt. */
  let jumps = 0
  let calls = 0

  const nameOf = (owner, rows) => `${owner} ${rows[0].key}`
  const violate = (promise, text) => {
    throw new Violation(promise, text)
  }
  const isCompleted = (key) => completed.get(key) > storeNow()

  function claimed(process, claims, verdicts) {
    claims.forEach((claim, place) => {
      claim.parts.forEach((part, index) => {
        const said = verdicts[place][index]
        for (const { key, id } of part.messages) keys.set(id, key)
        for (const { key } of said.completed) {
          if (!isCompleted(key)) violate('G4', `${key} is said to be completed`)
        }
        if (said.outcome === 'acquired') {
          granted(process, claim, part, said)
          return
        }
        givenBack(claim, part)
        if (said.outcome === 'completed' && said.completed.length < part.messages.length)
          violate('G5', `${claim.owner}: completed, though some of its messages are not`)
      })
    })
    return () => {
      claims.forEach((claim, place) => {
        claim.parts.forEach((part, index) => {
          if (verdicts[place][index].outcome !== 'acquired') return
          const lease = leases.get(nameOf(claim.owner, part.rows))
          lease.knownUntil = lease.grantedAt + claim.staleAfterMs
        })
      })
    }
  }

  function granted(process, claim, part, { fencingToken, completed: done }) {
    const name = nameOf(claim.owner, part.rows)
    const open = part.messages.filter(({ key }) => !done.some((message) => message.key === key))
    for (const { key } of open) if (isCompleted(key)) violate('G2', `${key} is given to ${claim.owner} once more`)
    const before = holders.get(part.rows[0].key)
    const isSame = before?.owner === claim.owner && !before.isRevoked
    const lease = isSame ? before : { process, owner: claim.owner, token: fencingToken }
    for (const { key } of part.rows) taken(key, claim, fencingToken)
    Object.assign(lease, { rows: part.rows.map(({ key }) => key), messages: open, grantedAt: storeNow(), jumps })
    lease.liveUntil = storeNow() + claim.staleAfterMs
    lease.strategy = claim.strategy
    leases.set(name, lease)
    for (const key of lease.rows) holders.set(key, lease)
    for (const { id } of open) held.set(id, { lease, until: Number.POSITIVE_INFINITY })
  }

  /** What an earlier try got, whose answer was lost, a refused one gives back. */
  function givenBack({ owner }, { rows }) {
    for (const { key } of rows) {
      const lease = holders.get(key)
      if (lease?.owner !== owner || lease.isRevoked) continue
      if (lease.isBegun && !lease.isEnded) violate('G1', `${owner} gives ${key} back under its handler`)
      lease.isGone = true
      letGo(lease)
      holders.delete(key)
    }
  }

  /** A row goes to a new owner. */
  function taken(key, { owner, strategy }, token) {
    const last = holders.get(key)
    if (last?.owner === owner && !last.isRevoked) {
      if (last.token !== token) violate('G7', `${key}: ${owner} has ${last.token}, and is told ${token}`)
      return
    }
    const largest = largestTokens.get(key) ?? 0
    if (token <= largest) violate('G7', `${key}: token ${token} after ${largest}`)
    largestTokens.set(key, token)
    if (!last || last.isRevoked) return
    letGo(last)
    if (strategy === 'transaction' && last.strategy === strategy) {
      // The connection is the lease: whoever has the lock knows that the one before is over, whatever its expiry. A claim
      // that arrives when its own lock is gone already costs the one who has it now no more than its commit.
      last.isRevoked = true
      return
    }
    if (last.knownUntil > storeNow() && !last.isEnded) violate('G1', `${key}: ${owner} beside ${last.owner}`)
    if (last.knownUntil > storeNow()) violate('G6', `${key}: ${owner} takes over from ${last.owner} too early`)
    if (isGentle) violate('G6', `${key}: ${owner} takes over from ${last.owner}, which nothing has happened to`)
    last.isOver = true
  }

  function renewed(renewals, verdicts) {
    renewals.forEach(({ owner, rows, staleAfterMs: forMs }, place) => {
      rows.forEach(({ key }, index) => {
        const lease = holders.get(key)
        const isHolder = lease?.owner === owner && !lease.isRevoked
        if (verdicts[place][index] && !isHolder) violate('G7', `${owner} renews ${key}, which it has lost`)
        if (!verdicts[place][index] && isHolder) violate('G6', `${owner} may not renew ${key}, which it has`)
        if (isHolder) lease.liveUntil = storeNow() + forMs
      })
    })
    const until = renewals.map(({ staleAfterMs: forMs }) => storeNow() + forMs)
    return () => {
      renewals.forEach(({ owner, rows }, place) => {
        rows.forEach(({ key }, index) => {
          const lease = leases.get(`${owner} ${key}`)
          if (!lease) return
          if (verdicts[place][index]) lease.knownUntil = until[place]
          else lease.isRefused = true
        })
      })
    }
  }

  function settled(settlements, verdicts) {
    settlements.forEach(({ owner, rows, messages, outcome }, place) => {
      const lease = leases.get(nameOf(owner, rows))
      if (!lease) violate('G7', `${owner} settles ${rows[0].key}, which it never had`)
      const isHolder = rows.every(({ key }) => holders.get(key) === lease) && !lease.isRevoked
      if (verdicts[place] === 'lost') {
        // A claim of its own that arrived late can have got it once more, under another token.
        const isItsToken = rows.every(({ fencingToken }) => fencingToken === lease.token)
        if (isHolder && isItsToken && !lease.isGone)
          violate('G3', `${owner} may not settle ${rows[0].key}, which it has`)
        return
      }
      if (lease.isGone) return
      if (!isHolder) violate('G7', `${owner} settles ${rows[0].key}, which it has lost`)
      if (lease.isBegun && !lease.isEnded) violate('G1', `${owner} lets ${rows[0].key} go under its handler`)
      if (rows.some(({ fencingToken }) => fencingToken !== lease.token)) violate('G7', `${owner}: another token`)
      if (outcome === 'completed' && lease.result !== 'completed')
        violate('G3', `${owner} completes what has ${lease.result ?? 'not ended'}`)
      if (outcome === 'completed') for (const { key } of messages) completed.set(key, storeNow() + retentionMs)
      for (const key of lease.rows) holders.delete(key)
      lease.isGone = true
    })
    // Whose answer is lost has the message in hand for all it knows.
    return () => {
      settlements.forEach(({ owner, rows }, place) => {
        if (verdicts[place] !== 'lost') letGo(leases.get(nameOf(owner, rows)))
      })
    }
  }

  function letGo(lease) {
    for (const { id } of lease.messages) if (held.get(id).lease === lease) held.get(id).until = now()
  }

  function released(rowKeys) {
    for (const key of rowKeys) {
      const lease = holders.get(key)
      if (lease) lease.isRevoked = true
    }
  }

  /** How many rows may go at most: those that were silent for so long. */
  function cleanedUp({ abandonedAfterMs }, { sessions }) {
    const abandoned = [...holders].filter(([, { liveUntil }]) => liveUntil + abandonedAfterMs <= storeNow())
    if (sessions > abandoned.length)
      violate('G6', `the clean-up removes ${sessions}, abandoned are ${abandoned.length}`)
    for (const [key, lease] of abandoned.slice(0, sessions)) {
      lease.isGone = true
      holders.delete(key)
    }
  }

  /** Sessions out of the inbox. */
  function taking(process, taken) {
    for (const { claim, fencingToken } of taken)
      granted(process, claim, claim.parts[0], { fencingToken, completed: [] })
    const until = storeNow()
    return () => {
      for (const { claim } of taken) {
        leases.get(nameOf(claim.owner, claim.parts[0].rows)).knownUntil = until + claim.staleAfterMs
      }
    }
  }

  function enqueued(arrivals, verdicts) {
    arrivals.forEach(({ messages }, place) => {
      messages.forEach(({ id, key, row }, index) => {
        keys.set(id, key)
        sessions.set(id, row.key)
        if (verdicts[place][index] === 'queued') stored.add(id)
        else if (!stored.has(id)) violate('G4', `${id} is known, they say, and nobody has stored it`)
      })
    })
  }

  /** Those of a hold: an earlier try of its claim can have got others, which nobody has heard of. */
  const leasesOf = (held) => held.flatMap(({ owner, rows }) => leases.get(nameOf(owner, rows)) ?? [])

  return {
    /** What it returns is to be called when the process hears the verdict. */
    executed(process, name, [items], verdicts) {
      calls += 1
      if (name === 'claim') return claimed(process, items, verdicts)
      if (name === 'take') return taking(process, verdicts)
      if (name === 'enqueue') return enqueued(items, verdicts)
      if (name === 'renew') return renewed(items, verdicts)
      if (name === 'settle') return settled(items, verdicts)
      if (name === 'release') released(items)
      if (name === 'cleanup') cleanedUp(items, verdicts)
      return undefined
    },
    /** A handler begins. */
    started(held, ids) {
      const given = leasesOf(held)
      if (given.length < held.length || given.some(({ knownUntil }) => knownUntil === undefined))
        violate('G1', `a handler runs with a lease that nobody gave (${ids})`)
      for (const lease of given) lease.isBegun = true
      for (const id of ids) {
        running.set(id, (running.get(id) ?? 0) + 1)
        if (!given.some(({ messages }) => messages.some((message) => message.id === id)))
          violate('G2', `${id} is handled without a lease`)
      }
    },
    /** A handler looks at its signal: a lease that somebody else has by now must have aborted it. */
    looked(signal, held, process) {
      if (signal.aborted || process.hasJustWokenUp()) return
      const mustKnow = ({ isOver, isRefused, knownUntil }) => isRefused || isOver || knownUntil <= storeNow()
      const over = leasesOf(held).find((lease) => lease.jumps === jumps && mustKnow(lease))
      if (over) violate('G7', `${over.owner} has lost its lease and is not told`)
    },
    ended(held, ids, result) {
      for (const lease of leasesOf(held)) {
        lease.result = result
        lease.isEnded = true
      }
      if (result !== 'completed') return
      for (const id of ids) succeeded.set(id, (succeeded.get(id) ?? 0) + 1)
    },
    /** Its leases are settled, or given up. */
    over(ids) {
      for (const id of ids) running.set(id, running.get(id) - 1)
    },
    /** A provider asks. */
    asked(ids) {
      for (const id of ids) asking.set(id, (asking.get(id) ?? 0) + 1)
    },
    /** Its answer is on the way, or never will be. */
    askedNoMore(ids) {
      for (const id of ids) asking.set(id, asking.get(id) - 1)
    },
    /** What it is answered, who asked at `askedAt`. */
    answered(ids, outcome, askedAt, process) {
      if (outcome === 'completed') {
        for (const id of ids) {
          if (!completed.has(keys.get(id))) violate('G4', `${id} is acknowledged, and nobody has completed it`)
        }
      }
      const isInFlight = (id) => held.get(id)?.until >= askedAt - hearsayMs || asking.get(id) > 1 || running.get(id) > 0
      if (outcome === 'in_flight' && !process.hasJustWokenUp() && !ids.some(isInFlight))
        violate('G5', `${ids} is in flight, they say, and nobody has it`)
      if (outcome === 'completed' || outcome === 'handled') for (const id of ids) acknowledged.add(id)
    },
    /** The store's clock leaps: leases are over by it that their holders' clocks know nothing of. */
    jumped() {
      jumps += 1
    },
    /** What handlers have written in a transaction is there from now on. */
    committed(ids) {
      for (const id of ids) {
        if (committed.has(id)) violate('G8', `what was written for ${id} is there twice`)
        committed.add(id)
      }
    },
    /** Who was acknowledged has been written down. */
    expectCommitted(ids) {
      for (const id of ids) if (!committed.has(id)) violate('G8', `what was written for ${id} is not there`)
    },
    /** A provider sends to an inbox. */
    sent(ids) {
      for (const id of ids) if (!sentAt.has(id)) sentAt.set(id, now())
    },
    /** And is told that all is well. */
    accepted(ids) {
      for (const id of ids) {
        if (!stored.has(id)) violate('G9', `${id} is acknowledged, and not stored`)
        acknowledged.add(id)
        if (!acceptedAt.has(id)) acceptedAt.set(id, now())
      }
    },
    /** A handler of the inbox begins: nobody is before it who was acknowledged before it was sent. */
    began(ids) {
      for (const [id, at] of acceptedAt) {
        const isBefore = sessions.get(id) === sessions.get(ids[0]) && at < sentAt.get(ids[0])
        if (isBefore && !succeeded.has(id)) violate('G9', `${ids} is handled before ${id}`)
      }
    },
    isAllHandled: (ids) => ids.every((id) => stored.size === 0 || succeeded.has(id)),
    lostLease(event) {
      if (isGentle) violate('G6', `${event.owner} loses its lease (${event.loss}), which nothing has happened to`)
    },
    /** All is over: nothing is lost, and where nothing happened, nothing is handled twice. */
    closed(ids, rowsLeft) {
      for (const id of ids) {
        if (!acknowledged.has(id)) violate('G3', `${id} is never acknowledged`)
        if (!succeeded.has(id)) violate('G4', `${id} is acknowledged, and nobody has handled it`)
        if (isGentle && succeeded.get(id) > 1) violate('G2', `${id} is handled ${succeeded.get(id)} times`)
      }
      if (isGentle && rowsLeft.length > 0)
        violate('G6', `${rowsLeft.map(({ key, owner }) => `${key} (${owner})`)} is held by nobody`)
    },
    /** How often the store was asked. */
    calls: () => calls,
  }
}
