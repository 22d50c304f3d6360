import type { Pool, PoolClient } from 'pg'
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { spawnNode } from '../processes/spawn-node.ts'
import { postgresUrl } from '../stores/postgres-tables.ts'
import { type Document, type DocumentWorld, documents, EXAMPLE, openWorld, post } from './document-inbox-world.ts'

let world: DocumentWorld
beforeEach(async () => {
  world = await openWorld()
})
afterEach(async () => {
  await world.close()
})

test('the show: the old way fails in each way that it measures, the inbox in none', async () => {
  const show = spawnNode(new URL('main.mjs', EXAMPLE), [], { DATABASE_URL: postgresUrl() })
  const ending = await show.exited
  const counts = new Map(
    show.lines.flatMap((line) => {
      const match = /^ {2}(\S.*?) {2,}(\d+) +(\d+)$/.exec(line)
      return match ? [[match[1], { before: Number(match[2]), after: Number(match[3]) }] as const] : []
    }),
  )
  for (const failure of [
    'rows of the table skipped',
    'documents handled twice',
    'unique violations',
    'decisions lost',
    'documents stuck with the killed worker',
    'sign-ins failed or timed out',
    'handed in, never handled, and nobody is told',
    'uploads failed',
  ]) {
    expect(counts.get(failure), `${failure}\n${show.lines.join('\n')}`).toEqual({
      before: expect.any(Number),
      after: 0,
    })
    expect(counts.get(failure)?.before, failure).toBeGreaterThan(0)
  }
  expect(counts.get('taken over from the killed worker')?.after).toBeGreaterThan(0)
  // What nobody can read, of 220 mailed and 500 uploaded: one in 90.
  expect(counts.get('dead, listed at GET /dead')?.after).toBe(9)
  expect(ending, show.stderr()).toEqual({ code: 0, signal: null })
}, 180_000)

describe('the watermark', () => {
  interface Page {
    readonly messages: ReadonlyArray<{ id: string }>
    readonly next: string | null
  }
  let fetchIncoming: (database: Pool, after: string | null) => Promise<Page>
  let position: string | null
  beforeAll(async () => {
    ;({ fetchIncoming } = await import(new URL('incoming.mjs', EXAMPLE).href))
  })
  beforeEach(() => {
    position = null
  })

  /** Reads until these have come, in this order. A transaction of another test may hold them back for a while. */
  async function expectNext(...wanted: string[]): Promise<void> {
    const ids: string[] = []
    await expect
      .poll(
        async () => {
          const { messages, next } = await fetchIncoming(world.database, position)
          position = next ?? position
          ids.push(...messages.map(({ id }) => id))
          return ids
        },
        { timeout: 40_000 },
      )
      .toEqual(wanted)
    expect((await fetchIncoming(world.database, position)).messages).toEqual([])
  }

  /** A transaction that has drawn its id, and is still open. */
  async function insertOpen(id: string): Promise<PoolClient> {
    const client = await world.database.connect()
    await client.query('BEGIN')
    await client.query('INSERT INTO incoming (message_id, sender, document) VALUES ($1, $1, $1)', [id])
    return client
  }

  async function end(client: PoolClient, how: 'COMMIT' | 'ROLLBACK'): Promise<void> {
    await client.query(how)
    client.release()
  }

  test('skips none of the rows that share a time, wherever a page ends', async () => {
    const handedIn = documents('same-time', 250)
    await world.handIn(handedIn)
    expect(await world.count('SELECT count(DISTINCT created_at) FROM incoming')).toBe(1)
    await expectNext(...handedIn.map(({ messageId }) => messageId))
  })

  test('waits for a transaction that drew its ids before others and commits after them', async () => {
    await world.handIn(documents('early', 1))
    const late = await insertOpen('late')
    await world.handIn(documents('meanwhile', 2))
    await expectNext('early-0')
    await end(late, 'COMMIT')
    await expectNext('late', 'meanwhile-0', 'meanwhile-1')
  })

  test('goes on past one that was rolled back', async () => {
    const failed = await insertOpen('rolled-back')
    await world.handIn(documents('meanwhile', 1))
    await end(failed, 'ROLLBACK')
    await expectNext('meanwhile-0')
  })
})

describe('getting or creating a customer', () => {
  let getOrCreateCustomer: (database: Pool | PoolClient, address: string) => Promise<string>
  beforeAll(async () => {
    ;({ getOrCreateCustomer } = await import(new URL('customers.mjs', EXAMPLE).href))
  })

  test('gives one id to all who ask at once, and makes one customer with one case', async () => {
    const spellings = ['new@example.com', ' New@Example.com ']
    const asked = Array.from({ length: 60 }, (_, index) =>
      getOrCreateCustomer(world.database, spellings[index % 2] as string),
    )
    expect(new Set(await Promise.all(asked)).size).toBe(1)
    expect(await world.count('SELECT count(*) FROM customers JOIN cases ON customer_id = customers.id')).toBe(1)
  })

  test.each(['COMMIT', 'ROLLBACK'])('waits for a transaction that has just made the customer: %s', async (how) => {
    const first = await world.database.connect()
    await first.query('BEGIN')
    const made = await getOrCreateCustomer(first, 'new@example.com')
    const asked = getOrCreateCustomer(world.database, 'new@example.com')
    const waiting =
      "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INTO customers%'"
    await expect.poll(() => world.count(waiting)).toBe(1)
    await first.query(how)
    first.release()
    const got = await asked
    expect(got === made).toBe(how === 'COMMIT')
    const { rows } = await world.database.query('SELECT id FROM customers')
    expect(rows).toEqual([{ id: got }])
  })
})

describe('workers', () => {
  /** Handled once each, and nothing else. */
  async function expectHandledOnce(handedIn: readonly Document[]): Promise<void> {
    const once = Object.fromEntries(handedIn.map(({ messageId }) => [messageId, 1]))
    await expect.poll(world.handled, { timeout: 40_000 }).toEqual(once)
  }

  test('that decide about one customer at once lose no decision', async () => {
    await Promise.all([world.startWorker('worker-1'), world.startWorker('worker-2')])
    const handedIn = documents('of-one', 90)
    await world.handIn(handedIn)
    await expectHandledOnce(handedIn)
    const { rows } = await world.database.query('SELECT accepted, refused FROM cases')
    expect(rows).toEqual([{ accepted: 60, refused: 30 }])
  })

  test('that are killed leave their document to others, until it is dead; and a retry brings it back', async () => {
    // A worker that is short of time would lose its lease otherwise, and that is an attempt too.
    const limits = { MAX_ATTEMPTS: '2', STALE_AFTER_MS: '5000' }
    const handedIn = documents('deadly', 1)
    await world.handIn(handedIn)
    for (const attempt of [1, 2]) {
      const worker = await world.startWorker(`worker-${attempt}`, { ...limits, READ_MS: '60000' })
      await worker.waitForLine(new RegExp(`^reading document deadly-0, attempt ${attempt}$`), 60_000)
      worker.kill('SIGKILL')
      await worker.exited
    }
    const web = await world.startWeb()
    await world.startWorker('worker-3', limits)
    await expect
      .poll(web.dead, { timeout: 40_000 })
      .toEqual([
        { id: 'deadly-0', lastError: expect.stringContaining('given up after 2 attempts'), diedAt: expect.any(Number) },
      ])
    expect(await world.handled()).toEqual({})
    expect((await web.retry('deadly-0')).status).toBe(202)
    await expectHandledOnce(handedIn)
    expect(await web.dead()).toEqual([])
    expect((await web.retry('deadly-0')).status).toBe(404)
  }, 120_000)

  test('try again what fails, as often as they may', async () => {
    const worker = await world.startWorker('worker-1', { MAX_ATTEMPTS: '3' })
    const web = await world.startWeb()
    const upload = await web.upload({ messageId: 'a/b', sender: 'someone@example.com', document: 'illegible' })
    expect([upload.status, upload.headers.get('session-lock')]).toEqual([200, 'queued'])
    const dead = {
      id: 'a/b',
      lastError: expect.stringContaining('the scan cannot be read'),
      diedAt: expect.any(Number),
    }
    await expect.poll(web.dead, { timeout: 20_000 }).toEqual([dead])
    const attempts = worker.lines.filter((line) => line.startsWith('reading document a/b, attempt '))
    expect(attempts.map((line) => line.at(-1))).toEqual(['1', '2', '3'])
    expect(await world.handled()).toEqual({})
    // An id may hold what means something in a URL.
    expect((await web.retry('a/b')).status).toBe(202)
  })

  test('handle once what came by mail, by mail again, and as an upload', async () => {
    const web = await world.startWeb()
    const [document] = documents('thrice', 1) as [Document]
    expect((await web.upload(document)).headers.get('session-lock')).toBe('queued')
    await world.handIn([document, document])
    const other = documents('other', 1)
    await world.handIn(other)
    await world.startWorker('worker-1')
    await expectHandledOnce([document, ...other])
    expect((await web.upload(document)).headers.get('session-lock')).toBe('duplicate')
  })

  test('finish what they have in hand before they end', async () => {
    const worker = await world.startWorker('worker-1', { READ_MS: '1000' })
    const handedIn = documents('in-hand', 1)
    await world.handIn(handedIn)
    await worker.waitForLine(/^reading document in-hand-0/)
    worker.kill('SIGTERM')
    expect(await worker.exited).toEqual({ code: 0, signal: null })
    await expectHandledOnce(handedIn)
  })
})

describe('the web part', () => {
  test('lets people sign in, and sends uploads away, while as many are being stored as may be', async () => {
    const web = await world.startWeb({ MAX_IN_FLIGHT: '1' })
    const [first, second] = documents('upload', 2) as [Document, Document]
    // Nothing can be stored while this lasts.
    const holder = await world.database.connect()
    await holder.query('BEGIN; LOCK TABLE session_lock_messages IN EXCLUSIVE MODE')
    const stored = web.upload(first)
    const storing = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'session_lock_messages'::regclass"
    await expect.poll(() => world.count(storing)).toBe(1)
    const refused = await web.upload(second)
    expect([refused.status, refused.headers.get('session-lock')]).toEqual([503, 'overloaded'])
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    const signIns = await Promise.all(Array.from({ length: 20 }, (_, index) => web.signIn(`${index}@example.com`)))
    expect(signIns.map(({ status }) => status)).toEqual(signIns.map(() => 202))
    await holder.query('COMMIT')
    holder.release()
    expect((await stored).status).toBe(200)
    expect((await web.upload(second)).status).toBe(200)
    expect(await world.count('SELECT count(*) FROM session_lock_queued')).toBe(2)
  })

  test('says what is wrong with what it is sent', async () => {
    const web = await world.startWeb()
    for (const email of ['nobody', '', 'a\u0000b@example.com']) expect((await web.signIn(email)).status).toBe(422)
    const tooLong = { messageId: 'x'.repeat(513), sender: 'someone@example.com', document: 'signed' }
    for (const document of [tooLong, { ...tooLong, messageId: '' }])
      expect((await web.upload(document)).status).toBe(422)
    expect((await post(`${web.siteUrl}/sign-in`, 'no object')).status).toBe(400)
  })

  test('shows the dead to nobody without the token', async () => {
    const web = await world.startWeb()
    const wrong = { Authorization: 'Bearer a-guess' }
    expect((await fetch(`${web.siteUrl}/dead`)).status).toBe(401)
    expect((await fetch(`${web.siteUrl}/dead`, { headers: wrong })).status).toBe(401)
    expect((await fetch(`${web.siteUrl}/dead/1/retry`, { method: 'POST', headers: wrong })).status).toBe(401)
    expect((await web.retry('unknown')).status).toBe(404)
  })

  test('ends when it is asked to', async () => {
    const web = await world.startWeb()
    expect((await web.signIn('someone@example.com')).status).toBe(202)
    web.process.kill('SIGTERM')
    expect(await web.process.exited).toEqual({ code: 0, signal: null })
  })
})

test.each([
  ['worker.mjs', 'DATABASE_URL'],
  ['web.mjs', 'DATABASE_URL'],
  ['web.mjs', 'ADMIN_TOKEN'],
  ['old-way.mjs', 'DATABASE_URL'],
  ['main.mjs', 'DATABASE_URL'],
])('%s says that %s is missing', async (program, name) => {
  const unset = world.spawn(program, { [name]: '' })
  expect(await unset.exited).toEqual({ code: 1, signal: null })
  expect(unset.stderr()).toContain(`${name} is not set`)
})

test('a setting that is no number is refused', async () => {
  const wrong = world.spawn('worker.mjs', { READ_MS: 'soon' })
  expect(await wrong.exited).toEqual({ code: 1, signal: null })
  expect(wrong.stderr()).toContain('READ_MS takes a whole number')
})
