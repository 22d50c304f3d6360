/** Every command but `sessions` and `doctor`, by the real program, on every store that it can look into. */
import { once } from 'node:events'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createInbox } from '../../src/inbox/index.ts'
import { createSessionLock, type SessionLock, type SessionLockOptions } from '../../src/index.ts'
import { openStore } from '../../src/store/open.ts'
import { spawnNode } from '../processes/spawn-node.ts'
import { dropPostgresTables, postgresUrl } from '../stores/postgres-tables.ts'
import { sharedStores } from '../stores/shared-stores.ts'
import { startStoreProxy } from '../stores/store-proxy.ts'
import { PROGRAM, type Printed, sessionLock } from './program.ts'

const TABLE_PREFIX = 'cli_commands_'
const DEVICE = '100000000000001'
/** Soon stale, where nobody renews it. */
const STALE_AFTER_MS = 1000

describe.each(sharedStores)('session-lock, on $name', ({ name, url, forget }) => {
  const hasQueue = name !== 'redis'
  const locks: SessionLock[] = []
  const ends: Array<() => void> = []

  function open(more: SessionLockOptions = {}): SessionLock {
    const lock = createSessionLock({ store: url(), tablePrefix: TABLE_PREFIX, logger: false, ...more })
    locks.push(lock)
    return lock
  }

  const say = (...words: string[]): Promise<Printed> =>
    sessionLock([...words, '--store', url(), '--table-prefix', TABLE_PREFIX])

  const tell = async (...words: string[]): Promise<unknown> => JSON.parse((await say(...words, '--json')).stdout)

  /** Resolves to the signal of the handler, which holds until the test is over. */
  function hold(lock: SessionLock, prospect: string, messageId = `m-${prospect}`): Promise<AbortSignal> {
    return new Promise((resolve, reject) => {
      const handler = (signal: AbortSignal) => {
        resolve(signal)
        return new Promise<void>((end) => ends.push(end))
      }
      lock.run({ messageId, prospect, device: DEVICE }, (lease) => handler(lease.signal)).catch(reject)
    })
  }

  async function untilStale(lock: SessionLock, count: number): Promise<void> {
    await expect.poll(async () => (await lock.sessions({ stale: true })).length, { timeout: 10_000 }).toBe(count)
  }

  beforeAll(async () => {
    await forget(new Set([TABLE_PREFIX]))
    expect(await say('migrate', '--check')).toMatchObject({ code: name === 'sqlite' ? 1 : 3 })
    expect((await say('migrate')).stdout).toMatch(/^applied: 0001_/)
    expect((await say('migrate')).stdout).toBe('the tables are up to date; nothing was changed\n')
    expect(await say('migrate', '--check')).toMatchObject({ code: 0, stdout: 'the tables are up to date\n' })
  }, 60_000)
  afterEach(async () => {
    for (const end of ends.splice(0)) end()
    await Promise.all(locks.splice(0).map((lock) => lock.close()))
    const cleaner = open()
    await cleaner.releaseSessions(
      (await cleaner.sessions()).map(({ key }) => key),
      { force: true },
    )
  })
  afterAll(() => forget(new Set([TABLE_PREFIX])))

  test('release refuses a live session; with --force its holder loses it', async () => {
    const lock = open({ staleAfterMs: 3 * STALE_AFTER_MS, nodeId: 'node-a' })
    await lock.ready()
    const signal = await hold(lock, '15550002222')
    const refused = await say('release', '15550002222', '--yes')
    expect(refused).toMatchObject({ code: 3, stderr: '' })
    expect(refused.stdout).toMatch(/^refused: 15550002222 \(device 100000000000001\): live, held by node-a .*--force/)
    expect(signal.aborted).toBe(false)
    expect(await say('release', '15550002222', '--yes', '--json')).toEqual({
      code: 3,
      stdout: '[]\n',
      stderr: expect.stringMatching(/^refused: 15550002222 [^\n]+\n$/),
    })
    expect(await say('release', '15550002222', '--force')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/say --yes/),
    })
    const aborted = once(signal, 'abort')
    const forced = await say('release', '15550002222', '--force', '--yes')
    expect(forced).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/live, held by node-a .*m-15550002222.*\n1 session released\n$/),
    })
    await aborted
    expect(signal.reason).toMatchObject({ name: 'LeaseLostError' })
    expect(await say('release', '15550002222', '--yes')).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(/^nobody holds/),
    })
  })

  test('release --force leaves a session alone that changed hands before the answer came', async () => {
    const [before, after] = [open({ nodeId: 'node-a' }), open({ nodeId: 'node-b' })]
    const prospect = 'handed on\u001b[2J'
    await hold(before, prospect, 'first')
    let signal: AbortSignal | undefined
    const words = ['release', prospect, '--force', '--store', url(), '--table-prefix', TABLE_PREFIX]
    const printed = await sessionLock(words, {}, async () => {
      ends.pop()?.()
      signal = await hold(after, prospect, 'second')
      return 'y'
    })
    expect(printed).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(/^handed on\ufffd\[2J .*changed meanwhile; nothing was done\n$/),
    })
    expect((await after.sessions()).map(({ nodeId }) => nodeId)).toEqual(['node-b'])
    expect(signal?.aborted).toBe(false)
  })

  test('release --stale frees exactly the stale ones', async () => {
    const [silent, live] = [
      open({ staleAfterMs: STALE_AFTER_MS, renew: false, storeTimeoutMs: 900, nodeId: 'node-s' }),
      open(),
    ]
    await silent.ready()
    for (const prospect of ['stale-1', 'stale-2']) await hold(silent, prospect)
    const signal = await hold(live, 'live')
    await untilStale(live, 2)
    expect(await say('release', '--stale')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/stale-1[\s\S]*Release 2 stale sessions\?/),
    })
    const released = (await tell('release', '--stale', '--yes')) as Array<{ prospect: string; nodeId: string }>
    expect(released.map(({ prospect, nodeId }) => [prospect, nodeId]).toSorted()).toEqual([
      ['stale-1', 'node-s'],
      ['stale-2', 'node-s'],
    ])
    expect((await live.sessions()).map(({ prospect }) => prospect)).toEqual(['live'])
    expect(signal.aborted).toBe(false)
    expect(await say('release', '--stale', '--yes')).toMatchObject({ code: 0, stdout: 'no session is stale\n' })
  })

  test('sessions are found by prospect, device, node and age', async () => {
    const [one, two] = [open({ nodeId: 'node-1' }), open({ nodeId: 'node-2' })]
    await hold(one, 'first')
    await hold(two, 'second')
    const found = async (...words: string[]) =>
      ((await tell('sessions', ...words)) as Array<{ prospect: string }>).map(({ prospect }) => prospect)
    expect(await found('--prospect', 'second')).toEqual(['second'])
    expect(await found('--node', 'node-1')).toEqual(['first'])
    expect(await found('--device', DEVICE)).toEqual(['first', 'second'])
    expect(await found('--older-than', '1h')).toEqual([])
    expect(await found('--older-than', '0s')).toEqual(['first', 'second'])
    expect((await say('sessions', '--device', 'x')).stdout).toBe('no session is held that fits\n')
    expect(await say('sessions', '--older-than', 'long')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/duration like 30s/),
    })
  })

  test('a name that begins with a dash is a name', async () => {
    await hold(open(), '-1001234567890')
    expect(await tell('sessions', '--prospect', '-1001234567890', '--limit', '1')).toHaveLength(1)
    expect(await tell('sessions', '--prospect=-1')).toEqual([])
    expect(await say('show', '-1001234567890')).toMatchObject({ code: 0 })
    const words = ['show', '--store', url(), '--table-prefix', TABLE_PREFIX, '--', '-nobody']
    expect(await sessionLock(words)).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(/^nothing is known by "-nobody"/),
    })
    expect(await say('show', '-nobody')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/given after --[^\n]*\n$/),
    })
    const released = await say('release', '-1001234567890', '--force', '--yes')
    expect(released).toMatchObject({ code: 0, stdout: expect.stringMatching(/^released -1001234567890 /) })
  })

  test('messages, show and stats tell what was handled, what failed, and what is in hand', async () => {
    const lock = open({ nodeId: 'node-t' })
    const key = { prospect: 'teller', device: DEVICE }
    await lock.run({ ...key, messageId: 'good' }, () => undefined)
    await lock
      .run({ ...key, messageId: 'bad' }, () => {
        throw new Error('no \u001b[31mcredit')
      })
      .catch(() => undefined)
    await hold(lock, 'teller', 'in hand')
    const listed = (await tell('messages', '--session', 'teller')) as Array<{ messageId: string; status: string }>
    expect(listed.map(({ messageId, status }) => [messageId, status])).toEqual([
      ['in hand', 'processing'],
      ['bad', 'failed'],
      ['good', 'completed'],
    ])
    const printed = await say('messages', '--status', 'failed', '--since', '1h')
    expect(printed.stdout).toMatch(/bad +teller +generic +failed +node-t +1 +\d+\.\ds ago +no \ufffd\[31mcredit/)
    const story = await say('show', 'bad')
    expect(story).toMatchObject({ code: 0 })
    expect(story.stdout).toMatch(/message bad: failed\nprovider generic, device 100000000000001, session teller\n/)
    expect(story.stdout).toMatch(/failed by node-t: no \ufffd\[31mcredit/)
    const session = await say('show', 'teller')
    for (const text of ['message in hand: processing', 'message bad: failed', 'message good: completed']) {
      expect(session.stdout).toContain(text)
    }
    expect(await say('show', 'nobody knows')).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(/^nothing is known/),
    })
    const stats = (await say('stats')).stdout
    expect(stats).toMatch(/^sessions held +1\nmessages +\d+ completed, 1 failed\ncompleted +\d+ in the last minute\n/)
    expect(stats).toMatch(/held longest +\d+\.\ds: teller \(device 100000000000001\), by node-t/)
    expect(await tell('stats')).toMatchObject({ sessions: 1, nodes: [{ nodeId: 'node-t', sessions: 1, stale: 0 }] })
  })

  test('what strangers write cannot move the cursor', async () => {
    await hold(open({ nodeId: 'node-\u009b2J' }), 'wri\u001b[2Jter')
    for (const words of [
      ['stats'],
      ['sessions'],
      ['show', 'wri\u001b[2Jter'],
      ['release', 'wri\u001b[2Jter'],
      ['\u001b[2J'],
    ]) {
      const { stdout, stderr } = await say(...words)
      expect(stdout + stderr).toContain('\ufffd[2J')
      expect((stdout + stderr).replaceAll('\n', '')).not.toMatch(/\p{Cc}/u)
    }
  })

  test('stats, doctor and sessions name the node that has gone silent, and its sessions', async () => {
    const silent = open({ staleAfterMs: STALE_AFTER_MS, renew: false, storeTimeoutMs: 900, nodeId: 'node-silent' })
    await silent.ready()
    await hold(silent, 'left-alone')
    await untilStale(open(), 1)
    expect((await say('stats')).stdout).toMatch(
      /1 of them stale[\s\S]*node-silent +1 +1[\s\S]*left-alone .*node-silent/,
    )
    expect(await say('doctor')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(
        /warning +sessions +node node-silent has renewed nothing for \d+ s; stale: left-alone\n +→ /,
      ),
    })
    expect((await say('sessions', '--stale')).stdout).toMatch(/left-alone .*node-silent .* stale/)
  })

  test('dead messages are listed, queued again, and given up on', async () => {
    const lock = open()
    if (!hasQueue) {
      for (const command of ['retry', 'discard']) {
        expect(await say(command, 'm')).toMatchObject({
          code: 1,
          stderr: expect.stringMatching(/the inbox needs a database/),
        })
      }
      return
    }
    const handler = () => {
      throw new Error('the model is down')
    }
    const inbox = createInbox({ lock, maxAttempts: 1, handler })
    await inbox.start()
    for (const id of ['d1', 'd2']) {
      await inbox.accept({ provider: 'test', messages: [{ id, prospect: 'p', device: DEVICE }] }, { text: id })
    }
    await expect.poll(async () => (await lock.messages({ status: 'dead' })).length, { timeout: 10_000 }).toBe(2)
    await inbox.stop()
    expect((await say('dead')).stdout).toMatch(/d[12] +p +test +dead .*the model is down/)
    expect(await say('retry', 'd1')).toMatchObject({ code: 0, stdout: '1 message queued again\n' })
    expect(await say('retry', 'd1')).toMatchObject({ code: 3, stdout: '0 messages queued again\n' })
    expect((await say('stats')).stdout).toMatch(/in the inbox +1 message of 1 session, the oldest for/)
    expect(await say('discard', 'd1')).toMatchObject({ code: 0, stdout: '1 message discarded\n' })
    expect(await say('discard', '--all', '--yes')).toMatchObject({ code: 0, stdout: '1 message discarded\n' })
    expect((await say('dead')).stdout).toBe('no message is dead\n')
    expect(await say('retry', '--all', '--yes')).toMatchObject({ code: 0, stdout: '0 messages queued again\n' })
    expect(await say('retry')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/takes ids of messages, or --all/),
    })
  })

  test('cleanup removes what is expired', async () => {
    const lock = open({ retentionMs: 1 })
    await lock.run({ messageId: 'soon forgotten' }, () => undefined)
    const removed = await say('cleanup')
    expect(removed).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^\d+ messages? and \d+ sessions? removed\n$/),
    })
    expect(await tell('cleanup')).toEqual({ messages: 0, sessions: 0 })
  })

  test('watch prints again and again', async () => {
    await hold(open({ nodeId: 'node-w' }), 'watched')
    const lines = (await say('watch', '--times', '2', '--every', '1', '--json')).stdout.trimEnd().split('\n')
    expect(lines).toHaveLength(2)
    for (const line of lines) {
      const told = { stats: { sessions: 1, nodes: [{ nodeId: 'node-w' }] }, sessions: [{ prospect: 'watched' }] }
      expect(JSON.parse(line)).toMatchObject(told)
    }
    expect((await say('watch', '--times', '1')).stdout).toMatch(/sessions held +1[\s\S]*watched/)
  })

  test('migrate --print prints tables of the prefix', async () => {
    const printed = await say('migrate', '--print')
    if (name === 'redis')
      expect(printed).toMatchObject({ code: 2, stderr: expect.stringMatching(/Redis has no tables/) })
    else
      expect(printed).toMatchObject({
        code: 0,
        stdout: expect.stringMatching(/CREATE TABLE[\s\S]*cli_commands_messages/),
      })
  })

  test('bench measures the store, and leaves nothing behind', async () => {
    const measured = await tell('bench', '--seconds', '1', '--connections', '8')
    const quantiles = { p50: expect.any(Number), p99: expect.any(Number) }
    expect(measured).toEqual({
      lone: quantiles,
      loaded: { ...quantiles, connections: 8, perSecond: expect.any(Number) },
      handover: quantiles,
    })
    expect(await open().sessions()).toEqual([])
  })
})

test('watch goes on when the store is back', async () => {
  const proxy = await startStoreProxy(postgresUrl())
  const { store } = await openStore(postgresUrl(), { tablePrefix: TABLE_PREFIX, timeoutMs: 5000 })
  await store.migrate()
  await store.close()
  const words = ['watch', '--json', '--every', '1', '--store', proxy.url, '--table-prefix', TABLE_PREFIX]
  const watch = spawnNode(PROGRAM, words)
  await watch.waitForLine(/"sessions"/)
  proxy.decide = () => 'cut'
  proxy.cutAll()
  await expect.poll(watch.stderr).toMatch(/^session-lock: no service from postgres:[^\n]+\n/)
  proxy.decide = () => 'pass'
  const before = watch.lines.length
  await expect.poll(() => watch.lines.length).toBeGreaterThan(before)
  watch.kill()
  await watch.exited
  await proxy.close()
  await dropPostgresTables(new Set([TABLE_PREFIX]))
})
