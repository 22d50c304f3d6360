/** G6 and G7: holders that crash, hang, are slow, or are released by force. */
import { describe, expect, test } from 'vitest'
import { type Bot, createWorld, delivery, installations, type Note, type World } from './world.ts'

const started = (notes: Note[], id: string) => notes.filter((note) => note.what === 'start' && note.ids.includes(id))

interface Row {
  readonly messageIds: readonly string[]
  readonly lockedAt: number
  readonly renewedAt: number
  readonly expiresAt: number
}

/** The one session that is held, with its times by the store's clock. */
async function rowOf(bot: Bot): Promise<Row> {
  const rows = (await bot.ask('sessions')) as Row[]
  expect(rows).toHaveLength(1)
  return rows[0] as Row
}

/** As a provider does: with leases this short, the store's first answer can come too late. */
async function deliverUntilTaken(world: World, bot: Bot, body: unknown): Promise<void> {
  for (;;) {
    const answer = await bot.post(body).catch(() => undefined)
    if (answer?.status !== 503 || started(world.notes(), 'wamid.held').length > 0) return
  }
}

async function hold(world: World, bot: Bot, task: Record<string, unknown>): Promise<Note> {
  void deliverUntilTaken(world, bot, delivery([{ id: 'wamid.held', task }]))
  await world.until((notes) => started(notes, 'wamid.held').length > 0)
  return started(world.notes(), 'wamid.held')[0] as Note
}

describe.each(installations)('$name', (installation) => {
  test('kill -9: not taken over before staleAfterMs, taken over after, with a larger token', async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([
      world.bot({ staleAfterMs: 1000 }),
      world.bot({ staleAfterMs: 1000, lockWaitMs: 300 }),
    ])
    const first = await hold(world, bots[0], { sleepMs: 60_000 })
    bots[0].process.kill('SIGKILL')
    await bots[0].process.exited
    const left = await rowOf(bots[1])
    const early = await bots[1].post(delivery([{ id: 'wamid.next' }]))
    expect(early.status).toBe(503)
    const patient = await world.bot({ staleAfterMs: 1000, lockWaitMs: 5000 })
    const late = patient.post(delivery([{ id: 'wamid.next', task: { sleepMs: 1000 } }]))
    await world.until((notes) => started(notes, 'wamid.next').length > 0)
    const taken = await rowOf(bots[1])
    expect(taken.messageIds).toEqual(['wamid.next'])
    // Both by the store's own clock.
    expect(taken.lockedAt).toBeGreaterThanOrEqual(left.expiresAt)
    expect(left.expiresAt - left.renewedAt).toBeGreaterThanOrEqual(1000)
    expect((await late).status).toBe(200)
    expect(started(world.notes(), 'wamid.next')[0]?.fencingToken).toBeGreaterThan(first.fencingToken as number)
    expect((await bots[1].post(delivery([{ id: 'wamid.held' }]))).status).toBe(200)
    expect(world.runs('wamid.held')).toBe(2)
  })

  test('SIGSTOP and SIGCONT: the signal aborts, the settlement is refused, the successor’s row stays', async () => {
    const world = await createWorld(installation)
    const options = { staleAfterMs: 1000, lockWaitMs: 5000 }
    const bots = await Promise.all([world.bot(options), world.bot(options)])
    const first = await hold(world, bots[0], { sleepMs: 2500 })
    bots[0].process.kill('SIGSTOP')
    const next = bots[1].post(delivery([{ id: 'wamid.next', task: { sleepMs: 4000 } }]))
    await world.until((notes) => started(notes, 'wamid.next').length > 0)
    const before = await bots[1].ask('sessions')
    bots[0].process.kill('SIGCONT')
    await world.until((notes) => notes.some((note) => note.what === 'aborted' && note.ids.includes('wamid.held')))
    await world.until((notes) => notes.some((note) => note.what === 'end' && note.ids.includes('wamid.held')))
    expect(started(world.notes(), 'wamid.next')[0]?.fencingToken).toBeGreaterThan(first.fencingToken as number)
    const [row] = (await bots[1].ask('sessions')) as Array<Record<string, unknown>>
    const [rowBefore] = before as Array<Record<string, unknown>>
    expect({ owner: row?.['owner'], token: row?.['fencingToken'], ids: row?.['messageIds'] }).toEqual({
      owner: rowBefore?.['owner'],
      token: rowBefore?.['fencingToken'],
      ids: ['wamid.next'],
    })
    const messages = (await bots[1].ask('messages')) as Array<Record<string, unknown>>
    expect(messages.filter((message) => message['messageId'] === 'wamid.held')).toEqual([])
    expect((await next).status).toBe(200)
    expect((await bots[1].post(delivery([{ id: 'wamid.held' }]))).headers.get('session-lock')).toBeNull()
  })

  test('a live handler of 10 × staleAfterMs is not taken over', async () => {
    const world = await createWorld(installation)
    // A sixth of so short a lease would be too little for a database that shares a busy machine.
    const options = { staleAfterMs: 400, lockWaitMs: 10_000, storeTimeoutMs: 300 }
    const bots = await Promise.all([world.bot(options), world.bot(options)])
    const first = bots[0].post(delivery([{ id: 'wamid.slow', task: { sleepMs: 4000 } }]))
    await world.until((notes) => notes.length > 0)
    const next = bots[1].post(delivery([{ id: 'wamid.next' }]))
    expect((await Promise.all([first, next])).map((answer) => answer.status)).toEqual([200, 200])
    expect(world.notes().map((note) => [note.what, ...note.ids])).toEqual([
      ['start', 'wamid.slow'],
      ['end', 'wamid.slow'],
      ['start', 'wamid.next'],
      ['end', 'wamid.next'],
    ])
  })

  test('with renew: false it is, at once after staleAfterMs, and its signal has aborted', async () => {
    const world = await createWorld(installation)
    const options = { staleAfterMs: 600, storeTimeoutMs: 400, lockWaitMs: 10_000, renew: false }
    const bots = await Promise.all([world.bot(options), world.bot(options)])
    const first = await hold(world, bots[0], { sleepMs: 3000 })
    const left = await rowOf(bots[0])
    const taking = bots[1].post(delivery([{ id: 'wamid.next', task: { sleepMs: 500 } }]))
    await world.until((notes) => started(notes, 'wamid.next').length > 0)
    const taken = await rowOf(bots[1])
    expect(taken.lockedAt).toBeGreaterThanOrEqual(left.expiresAt)
    expect([(await taking).status, left.renewedAt]).toEqual([200, left.lockedAt])
    const [next] = started(world.notes(), 'wamid.next')
    // At once: the first handler still runs.
    expect(world.notes().find((note) => note.what === 'end')?.ids).toEqual(['wamid.next'])
    const order = world.notes().map((note) => note.what)
    expect(order.indexOf('aborted')).toBeGreaterThan(-1)
    expect(order.indexOf('aborted')).toBeLessThan(order.lastIndexOf('start'))
    expect((next as Note).fencingToken).toBeGreaterThan(first.fencingToken as number)
  })

  test('released by force: the holder’s signal aborts, the next claim has a larger token', async () => {
    const world = await createWorld(installation)
    const options = { staleAfterMs: 900, storeTimeoutMs: 400, lockWaitMs: 5000 }
    const bots = await Promise.all([world.bot(options), world.bot(options)])
    const first = await hold(world, bots[0], { sleepMs: 3000 })
    const released = await bots[1].ask('release', { prospect: '15550002222', device: '100000000000001' })
    expect(released).toMatchObject({ prospect: '15550002222', messageIds: ['wamid.held'] })
    expect((await bots[1].post(delivery([{ id: 'wamid.next' }]))).status).toBe(200)
    await world.until((notes) => ['aborted', 'lost'].every((what) => notes.some((note) => note.what === what)))
    expect(world.notes().find((note) => note.what === 'lost')).toMatchObject({ loss: 'refused', ids: ['wamid.held'] })
    expect(started(world.notes(), 'wamid.next')[0]?.fencingToken).toBeGreaterThan(first.fencingToken as number)
  })

  test('a handler that never ends is given up after maxHoldMs, and its message is handled again', async () => {
    const world = await createWorld(installation)
    const options = { staleAfterMs: 500, storeTimeoutMs: 400, maxHoldMs: 1500, lockWaitMs: 8000 }
    const bots = await Promise.all([world.bot(options), world.bot(options)])
    const first = await hold(world, bots[0], { hang: true })
    const body = delivery([{ id: 'wamid.held' }])
    expect((await bots[1].post(body)).status).toBe(200)
    const [, second] = started(world.notes(), 'wamid.held')
    expect((second as Note).at - first.at).toBeGreaterThanOrEqual(1500)
    expect(world.notes().find((note) => note.what === 'lost')).toMatchObject({ loss: 'max_hold' })
  })
})
