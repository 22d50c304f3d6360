/**
 * The strategy `transaction`: before a turn claims its rows it takes their locks, in the transaction that its
 * handler gets. It waits for them asleep in the database, and wakes when their holder commits or is gone. Whoever
 * waits here counts among the open transactions, as a handler does.
 */
import type { ClaimVerdict, PartVerdict } from '../store/store.ts'
import type { Begun } from '../store/transactions.ts'
import type { Engine } from './engine.ts'
import { ClosedError } from './errors.ts'
import type { Lines } from './lines.ts'
import { createSlots } from './slots.ts'
import { keepParts } from './told.ts'
import { isCompleted, noteCompleted, reasonSaid, type Turn, withhold } from './turn.ts'

/** How a turn goes on. */
export interface NextSteps {
  /** With the locks: claims the rows. Where they are had, the turn is `holding` when it is answered. */
  claim(turn: Turn): void
  /** Without: as if the store had said so. */
  decided(turn: Turn, verdict: ClaimVerdict): void
  failed(turn: Turn, error: unknown): void
}

export interface LockFirst {
  ask(turn: Turn): Promise<void>
  /** Refuses everybody who has not got his locks, and all who come. */
  stop(): void
}

export function createLockFirst(engine: Engine, lines: Lines<Turn>, next: NextSteps): LockFirst {
  const { port, options } = engine
  const slots = createSlots(port, options.maxTransactions)
  /** Who waits for his locks, or for a place to wait for them in. */
  const asleep = new Set<Turn>()
  let isStopped = false
  let warned = false

  async function ask(turn: Turn): Promise<void> {
    const gone = new AbortController()
    turn.whenGone = () => gone.abort()
    asleep.add(turn)
    try {
      if (isStopped) throw new ClosedError()
      if (await isHandled(turn)) return
      const waitMs = () => (turn.final ? 0 : Math.max(0, turn.deadlineAt - port.now()))
      if (!(await slots.take(waitMs(), gone.signal))) return refuse(turn)
      await locked(turn, await begin(turn, waitMs(), gone.signal))
    } catch (error) {
      if (turn.state !== 'gone') next.failed(turn, engine.isClosed() ? new ClosedError() : error)
    } finally {
      asleep.delete(turn)
    }
  }

  /** A duplicate of something completed needs no lock, and no transaction. */
  async function isHandled(turn: Turn): Promise<boolean> {
    const messages = turn.parts.flatMap((part) => part.messages)
    const looks = await Promise.all(messages.map((message) => engine.looks.submit(message)))
    for (const message of looks) if (message) noteCompleted(turn, message)
    if (turn.state === 'gone' || !turn.parts.every((part) => isCompleted(turn.completed, part))) {
      return turn.state === 'gone'
    }
    const completed = looks.filter((message) => message !== undefined)
    next.decided(
      turn,
      turn.parts.map(() => ({ outcome: 'completed', completed })),
    )
    return true
  }

  function refuse(turn: Turn): void {
    if (turn.state === 'gone') return
    const { maxTransactions } = options
    if (!warned) engine.log.raw.warn({ maxTransactions }, 'every transaction is in use; messages are refused as busy')
    warned = true
    next.decided(
      turn,
      turn.parts.map(() => held(undefined)),
    )
  }

  async function begin(turn: Turn, waitMs: number, gone: AbortSignal): Promise<Begun> {
    try {
      const rowKeys = turn.parts.flatMap((part) => part.rows.map((row) => row.key))
      const begun = await (await engine.transactions()).begin(rowKeys, waitMs, gone)
      void begun.transaction.ended.then(slots.give)
      return begun
    } catch (error) {
      slots.give()
      throw error
    }
  }

  async function locked(turn: Turn, begun: Begun): Promise<void> {
    const { transaction } = begun
    try {
      const verdict = begun.held.length === 0 ? [] : await lockedOut(turn, begun.held)
      if (turn.state === 'gone') return
      const free = turn.parts.filter((_, index) => verdict[index]?.outcome === 'free')
      if (verdict.length > 0 && (!turn.final || free.length === 0)) {
        await transaction.rollback()
        next.decided(turn, verdict)
        return
      }
      // Time is up: what is free is taken, the rest is refused.
      if (verdict.length > 0) {
        withholdHeld(turn, verdict)
        keepParts(lines, turn, free)
      }
      asleep.delete(turn)
      await new Promise<void>((resolve) => {
        turn.transaction = transaction
        turn.whenAnswered = resolve
        next.claim(turn)
      })
    } finally {
      if (turn.state !== 'holding') await transaction.rollback()
    }
  }

  function withholdHeld(turn: Turn, verdict: ClaimVerdict): void {
    for (const [index, part] of turn.parts.entries()) {
      const said = verdict[index]
      if (said?.outcome === 'held') withhold(turn, part, reasonSaid({ part, said }))
    }
  }

  /** Who holds these rows, as the table shows it: between its lock and its claim, nobody. */
  async function lockedOut(turn: Turn, keys: readonly string[]): Promise<ClaimVerdict> {
    const store = await engine.store()
    const rows = new Map((await store.sessions({ keys, limit: keys.length })).map((row) => [row.key, row]))
    return turn.parts.map((part) => {
      const others = part.rows.filter(({ key }) => keys.includes(key))
      if (others.length === 0) return { outcome: 'free', completed: [] }
      return held(others.map(({ key }) => rows.get(key)).find((row) => row !== undefined))
    })
  }

  function held(row: { owner: string | null; messageKeys: readonly string[] } | undefined): PartVerdict {
    const { owner = null, messageKeys = [] } = row ?? {}
    const holder = { owner, nodeId: null, heldForMs: 0, silentForMs: 0, messageKeys }
    return { outcome: 'held', holder, remainingMs: options.staleAfterMs, completed: [] }
  }

  return {
    ask,
    stop() {
      isStopped = true
      for (const turn of asleep) next.failed(turn, new ClosedError())
    },
  }
}
