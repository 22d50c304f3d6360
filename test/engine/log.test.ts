/** What stands in the log: one line an outcome, and nobody's number where numbers are masked. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { createSessionLock, StoreError } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { gate } from '../http/bot.ts'

interface Line extends Record<string, unknown> {
  readonly level: number
  readonly msg: string
}

function linesOf(lines: Line[]) {
  return pino({ level: 'debug' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
}

test('the log has one line an outcome, at its level, and says whose', async () => {
  const lines: Line[] = []
  const store = memoryStore()
  const lock = createSessionLock({ store, logger: linesOf(lines), nodeId: 'here', lockWaitMs: 1 })
  const crashed = createSessionLock({ store, logger: false, nodeId: 'crashed', staleAfterMs: 100, renew: false })
  onTestFinished(async () => void (await Promise.all([lock.close(), crashed.close()])))
  const person = { prospect: 'ada', device: 'bot' }
  const [started, end] = [gate(), gate()]
  const running = lock.run({ messageId: 'm1', ...person }, () => {
    started.pass()
    return end.passed
  })
  await started.passed
  await lock.run({ messageId: 'm2', ...person }, () => 1)
  await lock.run({ messageId: 'm2', ...person }, () => 1, { lockWaitMs: 0 })
  end.pass()
  await running
  await lock.run({ messageId: 'm1', ...person }, () => 1)
  await lock.run({ messageId: 'm3', ...person }, () => Promise.reject(new Error('no'))).catch(() => undefined)
  const left = await crashed.claim({ provider: 'generic', messages: [{ id: 'm4', ...person }] })
  await lock.run({ messageId: 'm4', ...person }, () => 1, { lockWaitMs: 10_000 })
  if (left.outcome === 'acquired') await left.hold.settle({ status: 'completed' })
  expect(lines.map(({ level, msg, messageId }) => [level, msg, messageId])).toEqual([
    [20, 'acquired (new)', 'm1'],
    [30, 'session busy', 'm2'],
    [20, 'session busy', 'm2'],
    [20, 'released', 'm1'],
    [30, 'already locked — BLOCKING DUPLICATE', 'm1'],
    [20, 'acquired (new)', 'm3'],
    [40, 'failed to handle the message; a redelivery may try again', 'm3'],
    [30, 'acquired by taking over STALE lock', 'm4'],
    [20, 'released', 'm4'],
  ])
  for (const line of lines) {
    expect(line).toMatchObject({ session: 'ada · bot', node: 'here', owner: expect.any(String) })
    const timed = /^(released|failed)/.test(line.msg) ? line['heldMs'] : line['waitedMs']
    expect(timed).toEqual(expect.any(Number))
  }
  expect(lines[7]).toMatchObject({ from: 'crashed', ageMs: expect.any(Number) })
})

test('who is refused as busy learns in whose hands the session is', async () => {
  const lines: Line[] = []
  const store = memoryStore()
  const lock = createSessionLock({ store, logger: linesOf(lines), nodeId: 'here', lockWaitMs: 1 })
  const other = createSessionLock({ store, logger: false, nodeId: 'there' })
  onTestFinished(async () => void (await Promise.all([lock.close(), other.close()])))
  const told: unknown[] = []
  lock.on('busy', ({ heldBy }) => told.push(heldBy))
  for (const [holder, nodeId] of [
    [lock, 'here'],
    [other, 'there'],
  ] as const) {
    const held = await holder.claim({ provider: 'generic', messages: [{ id: `held ${nodeId}`, prospect: 'ada' }] })
    if (held.outcome !== 'acquired') throw new Error('not acquired')
    const heldBy = { nodeId, owner: held.hold.leases[0]?.owner, heldForMs: expect.any(Number) }
    for (const lockWaitMs of [20, 0]) {
      await lock.run({ messageId: `wanted ${nodeId}`, prospect: 'ada' }, () => 1, { lockWaitMs })
      expect(told.pop()).toEqual(heldBy)
      const line = lines.findLast(({ msg }) => msg === 'session busy')
      expect(line).toMatchObject({ heldBy: nodeId, holder: heldBy.owner, heldForMs: expect.any(Number) })
    }
    await held.hold.settle({ status: 'completed' })
  }
})

test('numbers are masked on request, whatever went wrong', async () => {
  const lines: Line[] = []
  const logger = linesOf(lines)
  const store = memoryStore()
  const lock = createSessionLock({ store, logger, maskProspects: true, closeTimeoutMs: 0 })
  onTestFinished(() => lock.close())
  const key = { messageId: 'wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQz', prospect: '16503879439', device: '106540352242922' }
  await lock.run(key, async () => {
    await lock.release({ prospect: key.prospect, device: key.device })
    await expect(lock.run(key, () => 1)).rejects.toThrow(/holds ••••9439 · ••••2922/)
    await store.close()
  })
  await expect(lock.run({ ...key, messageId: 'wamid.2', prospect: '26503879439' }, () => 1)).rejects.toThrow(StoreError)
  const said = lines.filter(({ level }) => level >= 40)
  expect(said.map(({ msg }) => msg)).toEqual([
    'released a session by force',
    'failed to settle a lease',
    'failed to claim',
  ])
  expect(said.map(({ session }) => session)).toEqual(said.map(() => '••••9439 · ••••2922'))
  expect(said.map(({ messageId }) => messageId)).toEqual(['••••GBQz', '••••GBQz', '••••id.2'])
  expect(JSON.stringify(lines)).not.toMatch(/16503879439|HBgLMTY1/)
})

test('what is written together is told of as nobody’s, not as of the request that came first', async () => {
  const requests = new AsyncLocalStorage<string>()
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  onTestFinished(() => lock.close())
  const seen: Array<string | undefined> = []
  lock.on('acquired', () => seen.push(requests.getStore()))
  lock.on('released', () => seen.push(requests.getStore()))
  const own = await Promise.all(
    ['a', 'b'].map((name) => requests.run(name, () => lock.run({ session: name }, () => requests.getStore()))),
  )
  expect(own).toMatchObject([{ value: 'a' }, { value: 'b' }])
  expect(seen).toEqual([undefined, undefined, undefined, undefined])
})
