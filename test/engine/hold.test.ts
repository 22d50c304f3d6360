/** What is held, under a clock that the test turns. */
import { expect, test } from 'vitest'
import { createClaims } from '../../src/engine/claims.ts'
import { createEngine } from '../../src/engine/engine.ts'
import { resolveOptions, type SessionLockOptions } from '../../src/engine/options.ts'
import { nodePort, type Port } from '../../src/engine/port.ts'
import { memoryStore } from '../../src/store/memory.ts'

async function holdUnder(options: SessionLockOptions) {
  let now = 0
  const timers = new Set<{ at: number; work: () => void }>()
  const port: Port = {
    ...nodePort,
    now: () => now,
    after(delayMs, work) {
      const timer = { at: now + delayMs, work }
      timers.add(timer)
      return { cancel: () => void timers.delete(timer) }
    },
  }
  const claims = createClaims(createEngine(resolveOptions({ store: memoryStore(), logger: false, ...options }, port)))
  const outcome = await claims.claim({ provider: 'generic', messages: [{ id: 'm1' }] }, { lockWaitMs: 0 })
  if (outcome.outcome !== 'acquired') throw new Error(outcome.outcome)
  return {
    hold: outcome.hold,
    passUntil(time: number) {
      for (;;) {
        const [due] = [...timers].sort((a, b) => a.at - b.at)
        if (!due || due.at > time) break
        timers.delete(due)
        now = due.at
        due.work()
      }
      now = time
    },
  }
}

test('a handler is told that its lease has run out before the store gives it to somebody else', async () => {
  const { hold, passUntil } = await holdUnder({ renew: false, staleAfterMs: 1000 })
  passUntil(900)
  expect(hold.signal.aborted).toBe(false)
  // The store's clock was read after the claim was sent.
  passUntil(999)
  expect(hold.signal.reason).toMatchObject({ code: 'LEASE_LOST', loss: 'expired' })
})
