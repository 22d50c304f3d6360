/** Giving back: what a claim has got for somebody who is gone, or may have got where its answer was lost. */
import type { Claim, ClaimPart, ClaimVerdict, PartVerdict } from '../store/store.ts'
import type { Engine } from './engine.ts'
import { pause } from './port.ts'

/**
 * Asks again under the same owner what the claim has got, and releases it. Without this the session
 * would be busy until the rows are stale.
 */
export async function giveBack(engine: Engine, request: Claim): Promise<void> {
  const { port, options } = engine
  const until = port.now() + options.staleAfterMs
  for (let waitMs = 50; port.now() < until && !engine.isClosed(); waitMs = Math.min(waitMs * 2, 2000)) {
    await pause(port, waitMs)
    try {
      // As a lease: the locks that it may have been asked with are gone, and others can hold the rows by now.
      const verdict = await engine.claims.submit({ ...request, whole: false, strategy: 'lease' })
      await Promise.all(request.parts.map((part, index) => release(engine, request, part, verdict[index])))
      return
    } catch (error) {
      engine.log.raw.debug({ err: error, owner: request.owner }, 'failed to give back a claim; trying again')
    }
  }
}

/** What the store has granted, and nobody wants any longer. */
export async function giveBackGranted(engine: Engine, request: Claim, verdict: ClaimVerdict): Promise<void> {
  try {
    await Promise.all(request.parts.map((part, index) => release(engine, request, part, verdict[index])))
  } catch (error) {
    engine.log.raw.debug({ err: error, owner: request.owner }, 'failed to give back a claim; trying again')
    await giveBack(engine, request)
  }
}

async function release(engine: Engine, request: Claim, part: ClaimPart, said: PartVerdict | undefined): Promise<void> {
  if (said?.outcome !== 'acquired') return
  if (said.takeover) {
    // It stays stale, so that whoever comes next is told that a holder before him has not come to his end.
    await (await engine.store()).release(part.rows.map(({ key }) => key))
    return
  }
  await engine.settlements.submit({
    owner: request.owner,
    nodeId: request.nodeId,
    rows: part.rows.map(({ key }) => ({ key, fencingToken: said.fencingToken })),
    messages: [],
    outcome: 'released',
    retentionMs: engine.options.retentionMs,
    error: null,
    response: null,
  })
}
