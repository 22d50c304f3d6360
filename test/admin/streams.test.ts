/** The live stream, for those who leave, who do not read, and who ask for its headers only. */
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createHttp2Server, connect as http2Connect } from 'node:http2'
import { type AddressInfo, connect } from 'node:net'
import express from 'express'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { adminFetch, adminRouter } from '../../src/admin/index.ts'
import { createLive } from '../../src/admin/live.ts'
import { createSessionLock, type SessionLock } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { listen } from '../http/bot.ts'
import { sectionsWith } from './sections.ts'

let lock: SessionLock
/** How often the store was asked what there is to show. */
let readings = 0

beforeEach(() => {
  const store = memoryStore()
  readings = 0
  const stats = (): ReturnType<typeof store.stats> => {
    readings += 1
    return store.stats()
  }
  lock = createSessionLock({ store: { ...store, stats }, logger: false, staleAfterMs: 1000, cleanupEveryMs: 0 })
})
afterEach(() => lock.close())

/** A door that is opened when the test says so, and who stands before it. */
function slowAuthorize() {
  let open = (): void => undefined
  const opened = new Promise<boolean>((resolve) => {
    open = () => resolve(true)
  })
  let come = (): void => undefined
  const somebodyCame = new Promise<void>((resolve) => {
    come = resolve
  })
  const authorize = (): Promise<boolean> => {
    come()
    return opened
  }
  return { authorize, somebodyCame, open: () => open() }
}

describe('who left while it was asked who that is', () => {
  test('is sent nothing over Express', async () => {
    const { authorize, somebodyCame, open } = slowAuthorize()
    const admin = adminRouter({ lock, authorize, metrics: false })
    onTestFinished(() => admin.close())
    const app = express()
    const left = new Promise<void>((resolve) => {
      app.use('/locks', (_request, response, next) => {
        response.once('close', resolve)
        next()
      })
    })
    app.use('/locks', admin)
    app.get('/open', async (_request, response) => {
      open()
      response.end()
    })
    const origin = await listen(app)
    const socket = connect(Number(new URL(origin).port), '127.0.0.1')
    socket.write('GET /locks/events HTTP/1.1\r\nHost: x\r\n\r\n')
    await somebodyCame
    socket.destroy()
    await left
    await fetch(`${origin}/open`)
    await fetch(`${origin}/locks/health/live`)
    expect(readings).toBe(0)
  })

  test('is sent nothing over HTTP/2', async () => {
    const { authorize, somebodyCame, open } = slowAuthorize()
    const admin = adminRouter({ lock, authorize, metrics: false })
    onTestFinished(() => admin.close())
    const failures: unknown[] = []
    const server = createHttp2Server((request, response) => {
      admin(request as unknown as IncomingMessage, response as unknown as ServerResponse, (error) =>
        failures.push(error),
      )
    })
    const left = once(server, 'request').then(([, response]) => once(response, 'close'))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const client = http2Connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    onTestFinished(() => {
      client.destroy()
      server.close()
    })
    const stream = client.request({ ':path': '/events' })
    await somebodyCame
    stream.close()
    await left
    open()
    const after = client.request({ ':path': '/health/live' })
    after.resume()
    await once(after, 'close')
    expect(readings).toBe(0)
    expect(failures).toEqual([])
  })

  test('is sent nothing over fetch', async () => {
    const { authorize, open } = slowAuthorize()
    const admin = adminFetch({ lock, authorize, metrics: false })
    onTestFinished(() => admin.close())
    const leaving = new AbortController()
    const answer = admin(new Request('http://bot.example/events', { signal: leaving.signal }))
    leaving.abort()
    open()
    expect((await answer).body).toBeNull()
    expect(readings).toBe(0)
  })
})

test('who does not read costs no memory, and does not keep the server from closing', async () => {
  // Long names, so that each reading is a long text.
  const prospects = Array.from({ length: 200 }, (_, at) => `${at}`.padStart(500, 'p'))
  const claims = prospects.map((prospect) => lock.claim({ provider: 'test', messages: [{ id: prospect, prospect }] }))
  const held = await Promise.all(claims)
  const admin = adminRouter({ lock, authorize: () => true, refreshMs: 100, metrics: false })
  const app = express()
  const asked = new Promise<ServerResponse>((resolve) => {
    app.use('/locks', (_request, response, next) => {
      resolve(response)
      next()
    })
  })
  app.use('/locks', admin)
  const socket = connect(Number(new URL(await listen(app)).port), '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.pause()
  socket.write('GET /locks/events HTTP/1.1\r\nHost: x\r\n\r\n')
  const response = await asked
  await expect.poll(() => response.writableNeedDrain, { timeout: 30_000 }).toBe(true)
  const before = response.writableLength
  const untilReadings = readings + 5
  await expect.poll(() => readings, { timeout: 10_000 }).toBeGreaterThan(untilReadings)
  expect(response.writableLength).toBe(before)
  const closed = once(response, 'close')
  admin.close()
  await closed
  for (const claimed of held) if (claimed.outcome === 'acquired') claimed.hold.end({ status: 'completed' })
}, 60_000)

test('whoever reads again is shown the latest', async () => {
  let isFull = true
  const written: string[] = []
  let count = 0
  const live = createLive(
    async () => sectionsWith(`reading ${count++}`),
    1,
    () => undefined,
  )
  onTestFinished(() => live.stop())
  const sink = { write: (text: string) => void written.push(text), isFull: () => isFull, end: () => undefined }
  live.stream(sink, new AbortController().signal)
  await expect.poll(() => count).toBeGreaterThan(3)
  expect(written).toEqual([])
  const seen = count
  isFull = false
  await expect.poll(() => written.length).toBeGreaterThan(0)
  expect(Number(/reading (\d+)/.exec(written[0] ?? '')?.[1])).toBeGreaterThanOrEqual(seen)
})

test('nothing is written to a stream that was closed, and it is not remembered', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const written: string[] = []
  const live = createLive(
    () => Promise.resolve(sectionsWith('anything')),
    1000,
    () => undefined,
  )
  const end = vi.fn<() => void>()
  const sink = { write: (text: string) => void written.push(text), isFull: () => false, end }
  live.stream(sink, new AbortController().signal)
  await vi.advanceTimersByTimeAsync(16_000)
  expect(written.length).toBeGreaterThan(0)
  const before = written.length
  live.stop()
  await vi.advanceTimersByTimeAsync(60_000)
  expect([written.length, end.mock.calls.length]).toEqual([before, 1])
  expect(vi.getTimerCount()).toBe(0)
})

test('a stream ends after some minutes, so that whoever may look no longer is asked again', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const live = createLive(
    () => Promise.resolve(sectionsWith('anything')),
    1000,
    () => undefined,
  )
  const end = vi.fn<() => void>()
  live.stream({ write: () => undefined, isFull: () => false, end }, new AbortController().signal)
  await vi.advanceTimersByTimeAsync(4 * 60_000)
  expect(end).not.toHaveBeenCalled()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(end).toHaveBeenCalledOnce()
  expect(vi.getTimerCount()).toBe(0)
})

test('HEAD gets the headers of the stream, and its end', async () => {
  const admin = adminRouter({ lock, authorize: () => true, metrics: false })
  onTestFinished(() => admin.close())
  const app = express()
  app.use('/locks', admin)
  const answer = await fetch(`${await listen(app)}/locks/events`, { method: 'HEAD' })
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream'])
  await answer.text()
  const overFetch = adminFetch({ lock, authorize: () => true, metrics: false })
  onTestFinished(() => overFetch.close())
  expect((await overFetch(new Request('http://bot.example/events', { method: 'HEAD' }))).body).toBeNull()
  expect(readings).toBe(0)
})
