/** What the API may be asked, and what it makes of what it does not know. */
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { adminFetch } from '../../src/admin/index.ts'
import { createSessionLock, type SessionLock } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'

let lock: SessionLock
let ask: (path: string) => Promise<Response>

beforeEach(() => {
  lock = createSessionLock({ store: memoryStore(), logger: false })
  const admin = adminFetch({ lock, authorize: () => true, metrics: false })
  ask = (path) => admin(new Request(`http://bot.example${path}`))
  onTestFinished(async () => {
    admin.close()
    await lock.close()
  })
})

test('sessions by age, messages since a moment or for a while, as the command line has them', async () => {
  await lock.run({ messageId: 'done', prospect: 'ada' }, () => 1)
  await lock.run({ messageId: 'held', prospect: 'bob' }, async () => {
    const namesAt = async (path: string) =>
      ((await (await ask(path)).json()) as Array<{ name: string }>).map(({ name }) => name)
    expect(await namesAt('/api/sessions?older-than=0s&stale=false')).toEqual(['bob'])
    expect(await namesAt('/api/sessions?older-than=5m')).toEqual([])
  })
  const idsAt = async (path: string) =>
    ((await (await ask(path)).json()) as Array<{ messageId: string }>).map(({ messageId }) => messageId).toSorted()
  expect(await idsAt('/api/messages?since=1h')).toEqual(['done', 'held'])
  expect(await idsAt(`/api/messages?since=${Date.now() + 60_000}`)).toEqual([])
})

test.each([
  ['/api/sessions?stale=1', /"stale" must be true or false/],
  ['/api/sessions?older-than=5', /"older-than" must be a duration like 30s/],
  ['/api/sessions?prospcet=ada', /"prospcet" is unknown; there are: stale, prospect/],
  ['/api/messages?since=1w', /"since" must be a duration like 1h, or epoch milliseconds/],
  ['/api/messages?stale=true', /"stale" is unknown; there are: status/],
  ['/api/find', /"name" must be/],
  ['/api/find?name=', /"name" must be/],
  ['/api/find?name=a%00', /"name" has a NUL/],
  ['/api/sessions?prospect=%00', /"prospect" has a NUL/],
  ['/api/messages?session=%00', /"session" has a NUL/],
  ['/show?name=%00', /"name" has a NUL/],
])('%s is refused, with why', async (path, text) => {
  const answer = await ask(path)
  expect(answer.status).toBe(400)
  expect(((await answer.json()) as { detail: string }).detail).toMatch(text)
})

test('what is remembered for ever is shown with its story', async () => {
  const lasting = createSessionLock({ store: lock.options.store, retentionMs: 1e16, logger: false })
  onTestFinished(() => lasting.close())
  await lasting.run({ messageId: 'm', prospect: 'ada' }, () => 1)
  const answer = await ask('/show?name=ada')
  expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining('<li>never forgotten')])
})

test('a search for nothing finds nothing, and one that finds too many says so', async () => {
  for (let at = 0; at < 102; at += 1) await lock.run({ messageId: `m${at}`, prospect: 'ada' }, () => 1)
  expect(await (await ask('/show?name=')).text()).toContain('<h2>No name was given</h2>')
  expect(await (await ask('/show?session=gone')).text()).toContain('<h2>This session is no longer held</h2>')
  expect(await (await ask('/show?name=ada')).text()).toContain('… and 2 more.')
  expect(await (await ask('/show?name=m7')).text()).not.toContain('more.')
})

test('what may be asked how is said', async () => {
  const admin = adminFetch({ lock, authorize: () => true, metrics: false })
  onTestFinished(() => admin.close())
  const answer = await admin(new Request('http://bot.example/api/stats', { method: 'POST' }))
  expect([answer.status, answer.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
})

test('a store that refuses for good is not said to be gone: nobody is told to come again', async () => {
  const gone = createSessionLock({ store: 'sqlite::memory:', migrate: 'off', logger: false })
  const admin = adminFetch({ lock: gone, authorize: () => true, metrics: false })
  onTestFinished(async () => {
    admin.close()
    await gone.close()
  })
  const answer = await admin(new Request('http://bot.example/api/sessions'))
  expect([answer.status, answer.headers.get('retry-after')]).toEqual([500, null])
  expect(((await answer.json()) as { detail: string }).detail).toMatch(/^The store refuses this: .*table/)
})
