/** Who may look and act, on both Express and fetch. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import express from 'express'
import { pino } from 'pino'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { type AdminOptions, adminFetch, adminRouter, basicAuth } from '../../src/admin/index.ts'
import { createSessionLock, type RunKey, type SessionLock, type Store, StoreError } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { listen } from '../http/bot.ts'

const READS = [
  '/',
  '/show?name=x',
  '/events',
  '/page.css',
  '/page.js',
  '/icon.svg',
  '/metrics',
  '/health',
  '/health/live',
  '/health/ready',
  '/api/sessions',
  '/api/messages',
  '/api/find?name=x',
  '/api/stats',
  '/api/server',
  '/api/doctor',
  '/nothing',
]
const CHANGES = ['/api/release', '/api/retry', '/api/discard', '/api/cleanup']
const JSON_TYPE = { 'content-type': 'application/json' }

type Send = (path: string, init?: RequestInit) => Promise<Response>
type Options = Omit<AdminOptions<never>, 'lock' | 'authorize'> & { authorize: (request: never) => unknown }

const anybody = (): boolean => true

let lock: SessionLock
let isDown = false
const lines: Array<Record<string, unknown>> = []
const closers: Array<() => void> = []

beforeEach(() => {
  lines.length = 0
  const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) })
  isDown = false
  lock = createSessionLock({ store: mortalStore(), logger, staleAfterMs: 60_000 })
})
afterEach(async () => {
  for (const close of closers.splice(0)) close()
  await lock.close()
})

/** In memory, and down when the test says so. */
function mortalStore(): Store {
  const store = memoryStore()
  const unlessDown =
    <Args extends unknown[], Value>(call: (...args: Args) => Promise<Value>) =>
    (...args: Args) =>
      isDown ? Promise.reject(new StoreError('unreachable', 'session-lock: gone')) : call(...args)
  return {
    ...store,
    sessions: unlessDown(store.sessions),
    messages: unlessDown(store.messages),
    stats: unlessDown(store.stats),
  }
}

async function overExpress(options: Options): Promise<Send> {
  const router = adminRouter({ lock, ...options } as AdminOptions<never>)
  closers.push(router.close)
  const app = express()
  app.use('/locks', router as never)
  const origin = await listen(app)
  return (path, init) => fetch(`${origin}/locks${path}`, { redirect: 'manual', ...init })
}

async function overFetch(options: Options): Promise<Send> {
  const admin = adminFetch({ lock, basePath: '/locks', ...options } as never)
  closers.push(admin.close)
  return (path, init) => admin(new Request(`http://bot.example/locks${path}`, init))
}

/** Holds a session until the test is over, and tells whether it has it still. */
async function holdOne(): Promise<AbortSignal> {
  const claimed = await lock.claim({ provider: 'test', messages: [{ id: 'm', prospect: '15550002222', device: 'd' }] })
  if (claimed.outcome !== 'acquired') throw new Error(claimed.outcome)
  closers.push(() => claimed.hold.end({ status: 'completed' }))
  return claimed.hold.signal
}

test.each([
  ['no options', undefined, /lock/],
  ['no authorize', {}, /authorize.*is needed.*basicAuth/],
  ['an unknown option', { authorize: anybody, readonly: true }, /"?readonly"? is unknown/],
  ['an impossible refreshMs', { authorize: anybody, refreshMs: 1 }, /refreshMs/],
  ['a mask that is no boolean', { authorize: anybody, maskNumbers: 'yes' }, /maskNumbers/],
])('%s: nothing is served', (_, options, text) => {
  expect(() => adminRouter((options && { lock, ...options }) as never)).toThrow(text)
  expect(() => adminFetch((options && { lock, ...options }) as never)).toThrow(text)
})

test('a password that is not set is an error at start', () => {
  expect(() => basicAuth({ ops: undefined })).toThrow(/no password for "ops"; is its environment variable set/)
  expect(() => basicAuth({})).toThrow(/at least one name/)
})

describe.each([
  ['Express', overExpress],
  ['fetch', overFetch],
])('over %s', (_, serve) => {
  test('whoever may not look gets 401 or 403 on every route', async () => {
    const signal = await holdOne()
    const closed = await serve({ authorize: () => false })
    const asking = await serve({ authorize: basicAuth({ ops: 'secret' }) })
    for (const path of READS) {
      expect([path, (await closed(path)).status]).toEqual([path, 403])
      const answer = await asking(path)
      expect([path, answer.status, answer.headers.get('www-authenticate')]).toEqual([
        path,
        401,
        'Basic realm="session-lock", charset="UTF-8"',
      ])
      expect(await answer.text()).not.toContain('15550002222')
    }
    for (const path of CHANGES) {
      const init = { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ handles: [], stale: true }) }
      expect([path, (await closed(path, init)).status, (await asking(path, init)).status]).toEqual([path, 403, 401])
    }
    for (const authorization of ['Basic b3BzOndyb25n', 'Basic OnNlY3JldA==', 'Bearer secret', 'Basic', 'nonsense']) {
      expect((await asking('/api/stats', { headers: { authorization } })).status).toBe(401)
    }
    const headers = { authorization: `Basic ${Buffer.from('ops:secret').toString('base64')}` }
    expect((await asking('/api/stats', { headers })).status).toBe(200)
    expect(signal.aborted).toBe(false)
  })

  test('an authorize that throws lets nobody in', async () => {
    const send = await serve({ authorize: () => Promise.reject(new Error('no session store')) })
    expect((await send('/api/sessions')).status).toBe(500)
    expect(lines.map(({ msg }) => msg)).toEqual(['failed to answer a request of the admin'])
  })

  test('a POST of another site, or of a form, changes nothing', async () => {
    const signal = await holdOne()
    const send = await serve({ authorize: () => 'ada' })
    const [{ handle }] = (await (await send('/api/sessions')).json()) as [{ handle: string }]
    const body = JSON.stringify({ handles: [handle], force: true })
    const foreign: Array<Record<string, string>> = [
      { ...JSON_TYPE, origin: 'https://evil.example' },
      { ...JSON_TYPE, origin: 'null' },
      { ...JSON_TYPE, 'sec-fetch-site': 'cross-site' },
      { ...JSON_TYPE, 'sec-fetch-site': 'same-site' },
      { 'content-type': 'application/x-www-form-urlencoded' },
      { 'content-type': 'text/plain' },
    ]
    for (const headers of foreign) {
      expect([headers, (await send('/api/release', { method: 'POST', headers, body })).status]).toEqual([headers, 403])
    }
    expect((await send('/api/release')).status).toBe(405)
    expect(await lock.sessions()).toHaveLength(1)
    expect(signal.aborted).toBe(false)
    expect(lines).toEqual([])
  })

  test('closing the admin ends the streams of those who look', async () => {
    const send = await serve({ authorize: () => true })
    const stream = await send('/events')
    const reader = stream.body?.getReader()
    await reader?.read()
    for (const close of closers.splice(0)) close()
    const rest = (async () => {
      while (!(await reader?.read())?.done);
      return 'ended'
    })()
    expect(await rest).toBe('ended')
    expect(await (await send('/events')).text()).toBe('')
  })

  test('read-only, nothing can be changed, and nothing offers to', async () => {
    await holdOne()
    const send = await serve({ authorize: () => 'ada', readOnly: true })
    const page = await (await send('/')).text()
    expect(page).toContain('15550002222')
    expect(page).not.toContain('<button type="button"')
    for (const path of CHANGES) {
      const answer = await send(path, { method: 'POST', headers: JSON_TYPE, body: '{"stale":true}' })
      expect([path, answer.status]).toEqual([path, 403])
    }
    expect(await lock.sessions()).toHaveLength(1)
  })

  test('numbers are masked everywhere where that is wanted, and sessions can be released all the same', async () => {
    await holdOne()
    const silent = createSessionLock({ store: lock.options.store, staleAfterMs: 100, renew: false, logger: false })
    const key = { id: 'left', prospect: '15550002222', device: '15550001111' }
    const left = await silent.claim({ provider: 'test', messages: [key] })
    closers.push(
      () => left.outcome === 'acquired' && left.hold.end({ status: 'completed' }),
      () => void silent.close(),
    )
    await expect.poll(async () => (await lock.stats()).staleSessions).toBe(1)
    await lock
      .run({ messageId: 'wamid.15550009999', prospect: '15550009999', device: '15550001111' }, () =>
        Promise.reject(new Error('no account of +15550009999')),
      )
      .catch(() => undefined)
    const send = await serve({ authorize: () => 'ada', maskNumbers: true })
    for (const path of [
      '/',
      '/api/sessions',
      '/api/messages',
      '/api/stats',
      '/api/doctor',
      '/api/find?name=15550009999',
    ]) {
      expect([path, await (await send(path)).text()]).toEqual([
        path,
        expect.not.stringMatching(/1555000(2222|9999|1111)/),
      ])
    }
    const [{ handle, name }] = (await (await send('/api/sessions?stale=false')).json()) as [
      { handle: string; name: string },
    ]
    expect(name).toBe('••••2222')
    expect(await (await send(`/show?session=${handle}`)).text()).toContain('••••2222')
    const init = { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ handles: [handle], force: true }) }
    expect(await (await send('/api/release', init)).json()).toMatchObject({ released: [{ handle }], refused: [] })
    expect(await lock.sessions({ stale: false })).toEqual([])
  })

  test('the text of an error names nobody where numbers are masked', async () => {
    const fail = (key: RunKey, text: string) =>
      lock.run(key, () => Promise.reject(new Error(text))).catch(() => undefined)
    const id = 'wamid.HBgLMTU1NTAwMDIyMjIVAgASGBQzQTdC'
    await fail(
      { messageId: id, prospect: '15550002222' },
      `no mark on ${id}, nor for +1 555-000-2222 or (555) 000 2222`,
    )
    const person = { prospect: 'Ada.Lovelace@example.com', device: 'c++' }
    await fail(
      { messageId: 'm2', ...person },
      'ada.lovelace@example.com wrote to c++, not to bob@example.com, in 1000 ms',
    )
    await fail({ messageId: 'm3', prospect: 'ann' }, 'cannot find ann')
    const send = await serve({ authorize: () => 'ada', maskNumbers: true })
    const rows = (await (await send('/api/messages')).json()) as Array<{ lastError: string }>
    expect(rows.map(({ lastError }) => lastError).toSorted()).toEqual([
      'cannot find •••',
      'no mark on ••••QTdC, nor for ••••2222 or (••••2222',
      '••••.com wrote to •••, not to ••••.com, in 1000 ms',
    ])
  })

  test('every change is logged with who made it; a live session is refused without force', async () => {
    const signal = await holdOne()
    const send = await serve({ authorize: () => 'ada' })
    const change = async (path: string, body: unknown) =>
      (await send(path, { method: 'POST', headers: JSON_TYPE, body: JSON.stringify(body) })).json()
    const [{ handle }] = (await (await send('/api/sessions')).json()) as [{ handle: string }]
    expect(await change('/api/release', { stale: true })).toEqual({ released: [], refused: [] })
    expect(await change('/api/release', { stale: true, force: true })).toEqual({ released: [], refused: [] })
    expect(await change('/api/release', { handles: [handle] })).toEqual({ released: [], refused: ['15550002222'] })
    expect(signal.aborted).toBe(false)
    expect(await change('/api/release', { handles: [handle], force: true })).toMatchObject({ refused: [] })
    expect(await change('/api/cleanup', {})).toMatchObject({ messages: 0 })
    const changes = lines.filter(({ who }) => who === 'ada').map(({ action, released }) => [action, released])
    expect(changes).toEqual([
      ['release', 0],
      ['release', 0],
      ['release', 0],
      ['release', 1],
      ['cleanup', undefined],
    ])
  })

  test.each([
    ['/api/messages?status=lost', 'GET', undefined, 400, /"status" must be one of/],
    ['/api/messages?since=yesterday', 'GET', undefined, 400, /"since"/],
    ['/api/sessions?limit=0', 'GET', undefined, 400, /"limit" must be a whole number from 1 to 1000/],
    ['/api/release', 'POST', '{"handles":"x"}', 400, /"handles" must be an array/],
    ['/api/release', 'POST', '[]', 400, /must be a JSON object/],
    ['/api/release', 'POST', '{', 400, /must be a JSON object/],
    ['/api/nothing', 'GET', undefined, 404, /nothing here/],
    ['/api/nothing', 'POST', '{}', 404, /nothing here/],
    ['/api/stats', 'DELETE', undefined, 405, /DELETE is not for this/],
  ])('%s %s %s is answered %i with what is wrong', async (path, method, body, status, text) => {
    const send = await serve({ authorize: () => true })
    const answer = await send(path, { method, headers: JSON_TYPE, ...(body !== undefined && { body }) })
    expect(answer.status).toBe(status)
    expect(answer.headers.get('content-type')).toBe('application/problem+json')
    expect(((await answer.json()) as { detail: string }).detail).toMatch(text)
  })

  test('a store that is down is said to be: 503, a page with a banner, and not ready', async () => {
    const send = await serve({ authorize: () => true })
    isDown = true
    for (const path of ['/api/sessions', '/api/stats', '/health/ready', '/show?name=x']) {
      const answer = await send(path)
      expect([path, answer.status, answer.headers.get('retry-after')]).toEqual([path, 503, '5'])
    }
    expect((await send('/health/live')).status).toBe(200)
    expect(await (await send('/')).text()).toMatch(/role="alert">The store does not answer: .+<\/p>/)
  })

  test('health, metrics, server and doctor tell of this node', async () => {
    const send = await serve({ authorize: () => true })
    expect(await (await send('/health')).json()).toEqual({ status: 'ok' })
    const metrics = await send('/metrics')
    expect(metrics.headers.get('content-type')).toMatch(/^text\/plain/)
    expect(await metrics.text()).toContain('session_lock_store_up 1')
    expect(await (await send('/api/server')).json()).toMatchObject({
      nodeId: lock.options.nodeId,
      version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      uptimeMs: expect.any(Number),
      store: 'memory:',
      pool: null,
      options: { strategy: 'lease', staleAfterMs: 60_000 },
    })
    expect(await (await send('/api/doctor')).json()).toContainEqual({
      check: 'sessions',
      level: 'ok',
      text: 'none is stale',
    })
  })
})

test('a closed admin counts no more, and many on one lock are no warning', async () => {
  const warnings: string[] = []
  const warn = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', warn)
  onTestFinished(() => void process.off('warning', warn))
  const admins = Array.from({ length: 12 }, () => adminFetch({ lock, authorize: anybody }))
  const acquiredBy = async (admin: (typeof admins)[number] | undefined) => {
    const text = await (await admin?.(new Request('http://bot.example/metrics')))?.text()
    return /claims_total\{outcome="acquired".*\} (\d+)/.exec(text ?? '')?.[1]
  }
  const [first, second, ...others] = admins
  await Promise.all(admins.map(acquiredBy))
  await lock.run({ messageId: 'm1' }, () => 1)
  first?.close()
  await lock.run({ messageId: 'm2' }, () => 1)
  expect([await acquiredBy(first), await acquiredBy(second)]).toEqual([undefined, '2'])
  for (const admin of [second, ...others]) admin?.close()
  expect(warnings).toEqual([])
})

test('a path that is no URL is answered like any other, whoever calls the router', async () => {
  const admin = adminRouter({ lock, authorize: anybody })
  closers.push(admin.close)
  const failures: unknown[] = []
  const server = createServer((request, response) => admin(request, response, (error) => failures.push(error)))
  closers.push(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  socket.write('GET // HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
  const [answer] = await once(socket, 'data')
  expect(String(answer)).toMatch(/^HTTP\/1\.1 404 /)
  expect(failures).toEqual([])
})

test('mounted without a slash at its end, the page is where its links work', async () => {
  const send = await overExpress({ authorize: () => true })
  const answer = await send('')
  expect([answer.status, answer.headers.get('location')]).toEqual([302, '/locks/'])
  expect((await (await overExpress({ authorize: () => false }))('')).status).toBe(403)
})
