import { afterEach, beforeEach, expect, test } from 'vitest'
import { spawnNode } from '../processes/spawn-node.ts'
import { createWorld, EXAMPLE, type World } from './notes-processor-world.ts'

let world: World

beforeEach(async () => {
  world = await createWorld()
})

afterEach(() => world.end())

async function resultsOf(response: Promise<Response>): Promise<unknown> {
  return ((await (await response).json()) as { results: unknown }).results
}

test('the show: the old way pays twice and leaves notes stuck, session-lock does neither', async () => {
  const show = spawnNode(new URL('main.mjs', EXAMPLE), [], { DATABASE_URL: world.databaseUrl })
  expect(await show.exited, show.stderr()).toEqual({ code: 0, signal: null })
  const at = show.lines.findIndex((line) => line.startsWith('The same with session-lock'))
  const numberIn = (lines: readonly string[]) => (name: string) =>
    Number(lines.map((line) => new RegExp(`^ +${name} +(\\d+)`).exec(line)?.[1]).find((found) => found !== undefined))
  const before = numberIn(show.lines.slice(0, at))
  const after = numberIn(show.lines.slice(at))

  expect(before('of which no kill was the reason')).toBeGreaterThan(0)
  expect(before('notes stuck in processing for ever')).toBeGreaterThan(0)
  expect(before('notes completed')).toBeLessThan(before('notes'))

  expect(after('notes')).toBe(before('notes'))
  expect(after('notes completed')).toBe(after('notes'))
  expect(after('notes stuck in processing for ever')).toBe(0)
  expect(after('of which no kill was the reason')).toBe(0)
  expect(after('notes in hand of the killed process')).toBeGreaterThan(0)
  expect(after('notes paid for twice')).toBeLessThanOrEqual(after('notes in hand of the killed process'))
  expect(after('calls of the model, all paid for')).toBe(after('notes') + after('notes paid for twice'))
}, 90_000)

test('a note that two nodes are asked for is paid for once, and both have the summary', async () => {
  const [a, b] = await Promise.all([world.startApp('node-a'), world.startApp('node-b')])
  const [id] = await world.add(a, 'ana', 'a long talk')
  const first = a.post(`/notes/${id}/process`)
  const call = await world.model.nextCall()
  const second = b.post(`/notes/${id}/process?lockWaitMs=20000`)
  call.answer('short')
  const expected = { id, status: 'completed', summary: 'short', node: 'node-a', attempts: 1 }
  for (const response of await Promise.all([first, second])) {
    expect(response.status).toBe(200)
    expect(await response.json()).toMatchObject(expected)
  }
  expect(world.model.calls).toHaveLength(1)
})

test('a busy note is answered 409 with Retry-After once the time is over', async () => {
  const [a, b] = await Promise.all([world.startApp('node-a'), world.startApp('node-b', { LOCK_WAIT_MS: '50' })])
  const [id] = await world.add(a, 'ana', 'a long talk')
  const first = a.post(`/notes/${id}/process`)
  const call = await world.model.nextCall()
  for (const path of [`/notes/${id}/process`, `/notes/${id}/process?lockWaitMs=0`]) {
    const refused = await b.post(path)
    expect(refused.status).toBe(409)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect(await refused.json()).toEqual({ error: expect.stringContaining('Ask again later') })
  }
  call.answer('short')
  expect((await first).status).toBe(200)
  expect(world.model.calls).toHaveLength(1)
})

test('the next notes of a user skip those in other hands, and those of other users', async () => {
  const [a, b] = await Promise.all([world.startApp('node-a'), world.startApp('node-b')])
  const ids = await world.add(a, 'ana', 'one', 'two', 'three', 'four', 'five')
  const [other] = await world.add(a, 'bo', 'another')
  const first = a.post('/users/ana/process?count=2')
  const ofA = [await world.model.nextCall(), await world.model.nextCall()]
  const second = b.post('/users/ana/process?count=2')
  const ofB = [await world.model.nextCall(), await world.model.nextCall()]
  for (const call of [...ofA, ...ofB]) call.answer(`by ${call.node}`)

  const processed = (id: number | undefined) => ({ id, status: 'processed', takeover: false })
  expect(await resultsOf(first)).toEqual([processed(ids[0]), processed(ids[1])])
  expect(await resultsOf(second)).toEqual([processed(ids[2]), processed(ids[3])])
  expect(await world.noteOf(ids[3])).toMatchObject({ status: 'completed', summary: 'by node-b', node: 'node-b' })
  for (const id of [ids[4], other]) expect(await world.noteOf(id)).toMatchObject({ status: 'pending', attempts: 0 })
})

test('a note that failed says why, waits for its retry, and is processed again', async () => {
  const a = await world.startApp('node-a')
  const [id] = await world.add(a, 'ana', 'a long talk')
  const first = a.post(`/notes/${id}/process`)
  const refusal = 'The model is overloaded.'
  ;(await world.model.nextCall()).refuse(refusal)
  expect((await first).status).toBe(502)
  expect(await (await first).json()).toEqual({ error: refusal })
  expect(await world.noteOf(id)).toMatchObject({ status: 'failed', error: refusal, attempts: 1 })

  expect(await resultsOf(a.post('/users/ana/process?count=5'))).toEqual([])
  const early = await a.post(`/notes/${id}/process`)
  expect([early.status, await early.json()]).toEqual([409, { error: expect.stringContaining('retry first') }])

  expect(await (await a.post(`/notes/${id}/retry`)).json()).toMatchObject({ id, status: 'pending', error: null })
  const second = a.post('/users/ana/process?count=5')
  ;(await world.model.nextCall()).answer('short')
  expect(await resultsOf(second)).toEqual([{ id, status: 'processed', takeover: false }])
  expect(await world.noteOf(id)).toMatchObject({ status: 'completed', summary: 'short', error: null, attempts: 2 })
  expect((await a.post(`/notes/${id}/retry`)).status).toBe(409)
})

test('a failure among the next notes is that note’s own', async () => {
  const a = await world.startApp('node-a')
  const [good, bad] = await world.add(a, 'ana', 'one', 'two')
  const answer = a.post('/users/ana/process?count=2')
  for (const call of [await world.model.nextCall(), await world.model.nextCall()]) {
    if (call.note === good) call.answer('short\0er')
    else call.refuse('no')
  }
  expect(await resultsOf(answer)).toEqual([
    { id: good, status: 'processed', takeover: false },
    { id: bad, status: 'failed', error: 'no' },
  ])
  expect(await world.noteOf(good)).toMatchObject({ status: 'completed', summary: 'shorter' })
})

test('notes of a node that was killed are shown as stuck, and taken over by the next call', async () => {
  const [a, b] = await Promise.all([world.startApp('node-a'), world.startApp('node-b')])
  const ids = await world.add(a, 'ana', 'one', 'two')
  const lost = a.post('/users/ana/process?count=2').catch(() => 'lost')
  await world.model.nextCall()
  await world.model.nextCall()
  a.process.kill('SIGKILL')
  expect(await lost).toBe('lost')
  await expect.poll(b.page).toContain('2 notes are stuck')

  const next = b.post('/users/ana/process?count=5')
  for (const call of [await world.model.nextCall(), await world.model.nextCall()]) call.answer('short')
  expect(await resultsOf(next)).toEqual(ids.map((id) => ({ id, status: 'processed', takeover: true })))
  for (const id of ids) {
    expect(await world.noteOf(id)).toMatchObject({ status: 'completed', node: 'node-b', attempts: 2 })
  }
  expect(await b.page()).not.toContain('stuck')
})

test('stuck notes are put back to pending, and those in living hands left alone', async () => {
  const [a, b] = await Promise.all([world.startApp('node-a'), world.startApp('node-b')])
  const [stuck] = await world.add(a, 'ana', 'one')
  const [inHand] = await world.add(a, 'bo', 'another')
  const lost = a.post(`/notes/${stuck}/process`).catch(() => 'lost')
  await world.model.nextCall()
  a.process.kill('SIGKILL')
  await lost
  const living = b.post(`/notes/${inHand}/process`)
  const call = await world.model.nextCall()
  await expect.poll(b.page).toContain('1 note is stuck')

  expect(await (await b.post('/reset-stuck')).json()).toEqual({ reset: [stuck] })
  expect(await world.noteOf(stuck)).toMatchObject({ status: 'pending', attempts: 1 })
  expect(await world.noteOf(inHand)).toMatchObject({ status: 'processing', node: 'node-b' })
  expect(await (await b.post('/reset-stuck')).json()).toEqual({ reset: [] })
  call.answer('short')
  expect((await living).status).toBe(200)
})

test('a node that slept past its lease cannot overwrite the note of whoever took it over', async () => {
  const [a, b] = await Promise.all([world.startApp('node-a'), world.startApp('node-b')])
  const [id] = await world.add(a, 'ana', 'a long talk')
  const late = a.post(`/notes/${id}/process`)
  const callOfA = await world.model.nextCall()
  a.process.kill('SIGSTOP')
  const successor = b.post(`/notes/${id}/process?lockWaitMs=20000`)
  ;(await world.model.nextCall()).answer('by the successor')
  expect((await successor).status).toBe(200)
  const written = await world.noteOf(id)

  callOfA.answer('too late')
  a.process.kill('SIGCONT')
  expect((await late).status).toBe(502)
  expect(await world.noteOf(id)).toEqual(written)
  expect(written).toMatchObject({ status: 'completed', summary: 'by the successor', node: 'node-b', attempts: 2 })
})

test('the token alone keeps out a node that does not know yet that it lost its lease', async () => {
  const a = await world.startApp('node-a')
  const [completing, failing] = await world.add(a, 'ana', 'one', 'two')
  const answer = a.post('/users/ana/process?count=2')
  const calls = [await world.model.nextCall(), await world.model.nextCall()]
  // As a successor does.
  await world.database.query(
    `UPDATE notes_processor_notes SET fencing_token = fencing_token + 1, status = 'completed', summary = 'the successor’s'`,
  )
  for (const call of calls) {
    if (call.note === completing) call.answer('too late')
    else call.refuse('too late')
  }
  const error = expect.stringContaining('taken this note over')
  const failed = (id: number | undefined) => ({ id, status: 'failed', error })
  expect(await resultsOf(answer)).toEqual([failed(completing), failed(failing)])
  for (const id of [completing, failing]) {
    expect(await world.noteOf(id)).toMatchObject({ status: 'completed', summary: 'the successor’s', error: null })
  }
})

test('finishes what it has in hand before it ends', async () => {
  const a = await world.startApp('node-a')
  const [id] = await world.add(a, 'ana', 'a long talk')
  const response = a.post(`/notes/${id}/process`)
  const call = await world.model.nextCall()
  a.process.kill('SIGTERM')
  await a.process.waitForLine(/^shutting down/)
  call.answer('short')
  expect((await response).status).toBe(200)
  expect(await a.process.exited).toEqual({ code: 0, signal: null })
  expect(await world.noteOf(id)).toMatchObject({ status: 'completed', summary: 'short' })
})

test('refuses what it cannot take, and says what to do', async () => {
  const a = await world.startApp('node-a')
  const [id] = await world.add(a, 'ana', 'a long talk')
  const wrong: Array<[number, string, unknown?]> = [
    [400, '/users/ana/process?count=0'],
    [400, '/users/ana/process?count=many'],
    [400, `/notes/${id}/process?lockWaitMs=-1`],
    [400, '/users/ana/notes', { notes: [] }],
    [400, '/users/ana/notes', { notes: [1] }],
    [400, '/users/ana/notes', { notes: ['a\0b'] }],
    [404, '/notes/0/process'],
    [404, '/notes/999/retry'],
    [404, '/notes/9999999999/process'],
    [409, `/notes/${id}/retry`],
  ]
  for (const [status, path, body] of wrong) {
    const response = await a.post(path, {}, body)
    expect([path, response.status, await response.json()]).toEqual([
      path,
      status,
      { error: expect.stringMatching(/./) },
    ])
  }
  expect(world.model.calls).toHaveLength(0)
})

test('says which setting is missing', async () => {
  for (const name of ['DATABASE_URL', 'MODEL_URL']) {
    const settings = { DATABASE_URL: world.databaseUrl, MODEL_URL: world.model.url, [name]: '' }
    const unset = spawnNode(new URL('app.mjs', EXAMPLE), [], settings)
    expect(await unset.exited).toEqual({ code: 1, signal: null })
    expect(unset.stderr()).toContain(`${name} is not set`)
  }
})

test('model.mjs refuses once what it is overloaded by, and bills what it answers', async () => {
  const model = spawnNode(new URL('model.mjs', EXAMPLE), [], { PORT: '0', THINK_MS: '1' })
  const modelUrl = (await model.waitForLine(/listens on (http\S+)/))[1] as string
  const a = await world.startApp('node-a', { MODEL_URL: modelUrl })
  const [id] = await world.add(a, 'ana', 'what is said of the overload of work')
  expect((await a.post(`/notes/${id}/process`)).status).toBe(502)
  await a.post(`/notes/${id}/retry`)
  const again = await a.post(`/notes/${id}/process`)
  expect(await again.json()).toMatchObject({ status: 'completed', summary: 'what is said of …', attempts: 2 })
  const bill = await (await fetch(`${modelUrl}/bill`)).json()
  expect(bill).toEqual({ total: 1, calls: [{ note: id, node: 'node-a' }] })
  model.kill()
  expect(await model.exited).toEqual({ code: 0, signal: null })
  expect((await a.post(`/notes/${id}/process`)).status).toBe(200)
  const [unreachable] = await world.add(a, 'ana', 'another')
  expect(await (await a.post(`/notes/${unreachable}/process`)).json()).toEqual({
    error: expect.stringContaining('could not be reached'),
  })
})
