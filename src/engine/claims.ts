/**
 * Claims: from a delivery's arrival to its outcome. A turn stands in the lines of its rows and
 * messages, asks the store when it is first in all of them, and waits up to `lockWaitMs`.
 */
import { type Claim, type ClaimVerdict, type CompletedMessage, type PartVerdict, StoreError } from '../store/store.ts'
import { namedInTime } from './alias.ts'
import type { Receiver } from './batches.ts'
import type { Delivery, DeliveryOutcome } from './delivery.ts'
import type { Engine } from './engine.ts'
import { ClosedError, ReentryError } from './errors.ts'
import { giveBack, giveBackGranted } from './give-back.ts'
import type { Acquired } from './held-lease.ts'
import { createHold, createHoldOfNothing, type HoldKeeper } from './hold.ts'
import { type Blocker, blockerKnown, blockerSaid, reasonKnown } from './in-the-way.ts'
import { createLines } from './lines.ts'
import { createLockFirst } from './lock-first.ts'
import { createLooks } from './looks.ts'
import { type Plan, planDelivery } from './plan.ts'
import { createRemembered } from './remembered.ts'
import { createReport, type OutcomeCounts } from './report.ts'
import { runningNow } from './running.ts'
import { createTold, dropCompleted, keepParts } from './told.ts'
import {
  heldRows,
  isCompleted,
  lineKeys,
  newTurn,
  noteCompleted,
  openPart,
  positions,
  RETRY_AFTER_MS,
  type Reason,
  reasonSaid,
  type Said,
  type Turn,
  whenAborted,
  withheldOf,
  withhold,
  worst,
} from './turn.ts'

/** How long whoever claims waits. */
export interface Patience {
  readonly lockWaitMs: number
  /** Where the store has not answered by then, the claim is refused rather than waited for. */
  readonly answerWithinMs?: number | undefined
  /** Rejects with its reason once it aborts. */
  readonly signal?: AbortSignal | undefined
}

export interface Claims {
  claim(delivery: Delivery, patience: Patience): Promise<DeliveryOutcome>
  /** Refuses everybody who waits, and all who come; those who hold go on. */
  stop(): void
  /** Resolves when nothing is in hand any more, and the store has answered every claim. */
  allEnded(): Promise<void>
  counts(): OutcomeCounts & { waiting: number; holding: number }
}

export function createClaims(engine: Engine): Claims {
  const { port, options } = engine
  const report = createReport(engine)
  const lines = createLines<Turn>(port, ask)
  if (options.listen) engine.whenOpened((store) => store.listen?.(lines.askNow))
  const lockFirst =
    options.strategy === 'transaction' && createLockFirst(engine, lines, { claim: claimRows, decided, failed })
  const remembered = createRemembered(port)
  const told = createTold(lines, finishWithout)
  const looks = createLooks(engine, lines, told)
  const waiting = new Set<Turn>()
  /** How many deliveries are in hand. */
  let holding = 0
  /** How many claims the store has not answered yet, since it may grant them still; and how many are being given back. */
  let asking = 0
  let markAllEnded: (() => void) | undefined
  let stopped = false
  let largestToken = 0

  function claim(delivery: Delivery, patience: Patience): Promise<DeliveryOutcome> {
    // Before the alias is asked: the provider's patience does not begin after it.
    const enteredAt = port.now()
    if (!options.alias) return enter(delivery, enteredAt, patience)
    const naming = namedInTime(delivery, options.alias, port, patience)
    return naming.then((named) => enter(named, enteredAt, patience))
  }

  /** Rejects with what this throws. */
  function enter(delivery: Delivery, enteredAt: number, patience: Patience): Promise<DeliveryOutcome> {
    const { lockWaitMs, answerWithinMs, signal } = patience
    return new Promise((resolve, reject) => {
      const plan = planDelivery(delivery, options.scope)
      if (stopped) throw new ClosedError()
      signal?.throwIfAborted()
      if (plan.parts.length === 0) {
        resolve({ outcome: 'unkeyed' })
        return
      }
      refuseReentry(plan)
      const completed = remembered.of(plan)
      const parts = completed.size === 0 ? plan.parts : plan.parts.filter((part) => !isCompleted(completed, part))
      const times = { enteredAt, deadlineAt: enteredAt + lockWaitMs }
      const turn = newTurn({ plan, parts, completed, owner: port.randomId(), ...times, resolve, reject })
      if (parts.length === 0) {
        finishWithout(turn)
        return
      }
      if (answerWithinMs !== undefined) {
        const leftMs = enteredAt + answerWithinMs - port.now()
        turn.giveUp = port.after(Math.max(0, leftMs), () => abandon(turn))
      }
      if (signal) turn.stopListening = whenAborted(signal, (reason) => cancel(turn, reason))
      if (!lines.enter(turn)) wait(turn)
    })
  }

  /** Who asked wants it no longer. What the store grants after all is given back. */
  function cancel(turn: Turn, reason: unknown): void {
    leaveAll(turn)
    turn.reject(reason)
  }

  /** The provider waits no longer, and the store still has not answered: what it grants after all is given back. */
  function abandon(turn: Turn): void {
    if (turn.state !== 'waiting' && turn.state !== 'claiming') return
    failed(turn, new StoreError('unreachable', 'session-lock: the store did not answer before the provider’s deadline'))
  }

  function refuseReentry(plan: Plan): void {
    for (let running = runningNow(); running; running = running.outer) {
      for (const part of plan.parts) {
        for (const row of part.rows) {
          const held = running.hold.holds(row.key)
          if (held !== undefined) throw new ReentryError(engine.log.shown(held))
        }
      }
    }
  }

  /** A newcomer who cannot go at once: takes what is free where too many wait, else its messages are looked at once. */
  function wait(turn: Turn): void {
    if (waiting.size >= options.maxWaiters) {
      finalize(turn)
      return
    }
    waitForDeadline(turn)
    looks.lookFor(turn)
  }

  function waitForDeadline(turn: Turn): void {
    if (waiting.has(turn)) return
    waiting.add(turn)
    const timeIsUp = (): void => {
      // Where the store is being asked just now, its answer comes first.
      if (turn.state === 'waiting') finalize(turn)
    }
    turn.timer = port.after(Math.max(0, turn.deadlineAt - port.now()), timeIsUp, 'awaited')
  }

  /** Asks the store. The turn is first in all its lines, and keeps that place until the answer is in. */
  function ask(turn: Turn): void {
    if (lockFirst) void lockFirst.ask(turn)
    else claimRows(turn)
  }

  function claimRows(turn: Turn): void {
    turn.sentAt = port.now()
    turn.request = {
      owner: turn.owner,
      nodeId: options.nodeId,
      parts: turn.parts,
      whole: !turn.final,
      staleAfterMs: options.staleAfterMs,
      tokenAbove: largestToken,
      strategy: options.strategy,
    }
    asking += 1
    engine.claims.send(turn.request, receiver, turn)
  }

  const receiver: Receiver<ClaimVerdict, Turn> = {
    answered(turn, verdict) {
      asking -= 1
      answered(turn, verdict)
      turn.whenAnswered?.()
      tellIfAllEnded()
    },
    failed(turn, error) {
      asking -= 1
      unanswered(turn, error)
      turn.whenAnswered?.()
      tellIfAllEnded()
    },
  }

  function tellIfAllEnded(): void {
    if (holding + asking === 0) markAllEnded?.()
  }

  function unanswered(turn: Turn, error: unknown): void {
    if (error instanceof StoreError && error.answerLost) givenBack(giveBack(engine, turn.request as Claim))
    if (turn.state !== 'gone') failed(turn, error)
  }

  function answered(turn: Turn, verdict: ClaimVerdict): void {
    if (port.now() - turn.sentAt >= options.staleAfterMs) {
      const text = 'session-lock: the store answered a claim only after its lease had run out'
      unanswered(turn, new StoreError('unreachable', text, { answerLost: true }))
    } else if (turn.state === 'gone') givenBack(giveBackGranted(engine, turn.request as Claim, verdict))
    else decided(turn, verdict)
  }

  /** What is closed before is given back no more. */
  function givenBack(giving: Promise<void>): void {
    asking += 1
    void giving.then(() => {
      asking -= 1
      tellIfAllEnded()
    })
  }

  function decided(turn: Turn, verdict: ClaimVerdict): void {
    const answers = turn.parts.map((part, index) => ({ part, said: verdict[index] as PartVerdict }))
    const completed = completedIn(verdict)
    for (const message of completed) noteCompleted(turn, message)
    looks.noteHolders(answers)
    if (verdict.some(isAcquired)) acquire(turn, answers)
    else if (verdict.some(isHeld)) held(turn, answers)
    else finishWithout(turn)
    told.note(completed)
  }

  function held(turn: Turn, answers: readonly Said[]): void {
    const timeIsUp = port.now() >= turn.deadlineAt
    if (stopped || turn.final || (timeIsUp && turn.parts.length === 1)) {
      for (const answer of answers) if (answer.said.outcome === 'held') withhold(turn, answer.part, reasonSaid(answer))
      refuse(turn, worst(turn.withheld.values()), blockerSaid(answers))
      return
    }
    dropCompleted(lines, turn)
    lines.stepBack(turn, heldRows(answers))
    if (timeIsUp) finalize(turn)
    else waitForDeadline(turn)
  }

  /** Time is up: what is free is taken, the rest is refused. */
  function finalize(turn: Turn): void {
    turn.final = true
    // A try of the whole claim whose answer was lost may arrive at the store still. It would give back what is taken now,
    // if that were under its owner.
    turn.owner = port.randomId()
    const free = new Set(turn.parts.filter((part) => lineKeys(part).every(lines.isFree)))
    for (const part of turn.parts) if (!free.has(part)) withhold(turn, part, reasonKnown(lines, turn, part))
    if (free.size === 0) refuse(turn, worst(turn.withheld.values()))
    else {
      keepParts(lines, turn, [...free])
      // Leaving a line lets others go, who may take what was free a moment ago.
      if (!lines.startIfFree(turn)) finalize(turn)
    }
  }

  function acquire(turn: Turn, answers: readonly Said[]): void {
    stopWaiting(turn)
    const acquired: Acquired[] = []
    for (const answer of answers) {
      const { part, said } = answer
      if (said.outcome === 'held') withhold(turn, part, reasonSaid(answer))
      if (said.outcome !== 'acquired') continue
      const { fencingToken } = said
      largestToken = Math.max(largestToken, fencingToken)
      const open = openPart(turn, part)
      acquired.push({ part: open, fencingToken, takeover: said.takeover !== null })
      report.acquired(turn, open, said)
    }
    if (turn.completed.size + turn.withheld.size > 0) report.rest(turn, blockerSaid(answers) ?? blockerOf(turn))
    const parts = acquired.map(({ part }) => part)
    if (turn.completed.size > 0 || parts.length < turn.parts.length) keepParts(lines, turn, parts)
    turn.state = 'holding'
    turn.leasesLeft = acquired.length
    holding += 1
    const { fresh, duplicates } = positions(turn, parts)
    const hold = createHold(engine, {
      claim: turn.request as Claim,
      transaction: turn.transaction,
      provider: turn.plan.provider,
      acquired,
      fresh,
      duplicates,
      withheld: withheldOf(turn),
      sentAt: turn.sentAt,
      keeper,
      of: turn,
    })
    turn.resolve({ outcome: 'acquired', hold })
  }

  const keeper: HoldKeeper<Turn> = {
    freed(turn, part, contended) {
      told.afterwards(() => {
        if (contended) for (const row of part.rows) lines.yieldTurn(row.key)
        lines.leave(turn, turn.parts.length === 1 ? turn.keys : lineKeys(part))
      })
    },
    completed(messages) {
      remembered.add(messages, options.retentionMs)
      told.note(messages)
    },
    ended(turn) {
      turn.leasesLeft -= 1
      if (turn.leasesLeft === 0) holding -= 1
      tellIfAllEnded()
    },
  }

  /** Nothing is left to be handled: the rest, if there was any, is completed. */
  function finishWithout(turn: Turn): void {
    if (turn.withheld.size > 0) {
      refuse(turn, worst(turn.withheld.values()))
      return
    }
    leaveAll(turn)
    if (positions(turn, []).fresh.length > 0) {
      // Messages with nothing to key on came beside the duplicates: they are handled, as they would be alone.
      turn.resolve({ outcome: 'acquired', hold: createHoldOfNothing(engine, turn) })
      return
    }
    report.duplicate(turn, 'completed')
    const [first] = turn.completed.values()
    turn.resolve({ outcome: 'duplicate', of: 'completed', response: first?.response ?? null })
  }

  function refuse(turn: Turn, reason: Reason, blocker = reason === 'busy' ? blockerOf(turn) : null): void {
    leaveAll(turn)
    if (reason === 'in_flight') {
      report.duplicate(turn, 'in_flight')
      turn.resolve({ outcome: 'duplicate', of: 'in_flight', retryAfterMs: RETRY_AFTER_MS })
    } else {
      report.busy(turn, blocker)
      turn.resolve({ outcome: 'busy', retryAfterMs: RETRY_AFTER_MS })
    }
  }

  function blockerOf(turn: Turn): Blocker | null {
    return blockerKnown(lines, turn, turn.plan.parts, { nodeId: options.nodeId, now: port.now() })
  }

  function failed(turn: Turn, error: unknown): void {
    leaveAll(turn)
    if (!(error instanceof ClosedError)) report.failed(turn, error)
    if (options.onStoreError === 'allow' && error instanceof StoreError) {
      report.unprotected(turn, error)
      turn.resolve({ outcome: 'acquired', hold: createHoldOfNothing(engine, turn) })
    } else turn.reject(error)
  }

  function stopWaiting(turn: Turn): void {
    turn.timer?.cancel()
    turn.giveUp?.cancel()
    turn.stopListening?.()
    waiting.delete(turn)
  }

  function leaveAll(turn: Turn): void {
    stopWaiting(turn)
    turn.state = 'gone'
    turn.whenGone?.()
    lines.leave(turn, turn.keys)
  }

  return {
    claim,
    stop() {
      stopped = true
      for (const turn of [...waiting]) {
        if (turn.state !== 'waiting') continue
        leaveAll(turn)
        turn.reject(new ClosedError())
      }
      if (lockFirst) lockFirst.stop()
    },
    async allEnded() {
      if (holding + asking > 0) await new Promise<void>((resolve) => (markAllEnded = resolve))
    },
    counts: () => ({ ...engine.counts, waiting: waiting.size, holding: holding + engine.handling }),
  }
}

const isAcquired = ({ outcome }: PartVerdict): boolean => outcome === 'acquired'
const isHeld = ({ outcome }: PartVerdict): boolean => outcome === 'held'

function completedIn(verdict: ClaimVerdict): readonly CompletedMessage[] {
  const [first, second] = verdict
  return first && !second ? first.completed : verdict.flatMap(({ completed }) => completed)
}
