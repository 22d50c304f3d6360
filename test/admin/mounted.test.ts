/** The router, whoever calls it. */
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { connect, createServer as createHttp2Server } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import express from 'express'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { type AdminRouter, adminRouter } from '../../src/admin/index.ts'
import { createSessionLock, type SessionLock } from '../../src/index.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { listen } from '../http/bot.ts'

let lock: SessionLock
let admin: AdminRouter

beforeEach(() => {
  lock = createSessionLock({ store: memoryStore(), logger: false })
  admin = adminRouter({ lock, authorize: () => true, metrics: false })
  onTestFinished(async () => {
    admin.close()
    await lock.close()
  })
})

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  onTestFinished(() => void server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('a second question mark belongs to what is asked', async () => {
  const app = express()
  app.use('/locks', admin)
  await lock.run({ messageId: 'm', prospect: 'who?me' }, () => 1)
  const answer = await fetch(`${await listen(app)}/locks/api/find?name=who?me`)
  expect(await answer.json()).toMatchObject({ messages: [{ session: 'who?me' }] })
})

test('where the path is stripped and nobody says from what, links go where it is mounted all the same', async () => {
  const origin = await serve((request, response) => {
    const { url = '' } = request
    // As Connect does it.
    Object.assign(request, { originalUrl: url, url: url.slice('/locks'.length).replace(/^(?!\/)/, '/') })
    admin(request, response, () => response.writeHead(404).end())
  })
  expect(await (await fetch(`${origin}/locks/`)).text()).toContain('href="/locks/page.css"')
  for (const path of ['/locks/page.css?v=1', '/locks/api/stats'])
    expect((await fetch(`${origin}${path}`)).status).toBe(200)
  const bare = await fetch(`${origin}/locks`, { redirect: 'manual' })
  expect([bare.status, bare.headers.get('location')]).toEqual([302, '/locks/'])
})

test('over HTTP/2 the page’s own POST is read, whatever its length, and another site’s is not', async () => {
  const server = createHttp2Server((request, response) =>
    admin(request as unknown as IncomingMessage, response as unknown as ServerResponse, () => response.destroy()),
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const client = connect(origin)
  onTestFinished(() => {
    client.destroy()
    server.close()
  })
  const post = async (from: string): Promise<unknown> => {
    const headers = { 'content-type': 'application/json', origin: from }
    const stream = client.request({ ':method': 'POST', ':path': '/api/release', ...headers })
    stream.end('{"stale":true}')
    return JSON.parse(await text(stream))
  }
  expect(await post(origin)).toEqual({ released: [], refused: [] })
  expect(await post('http://evil.example')).toMatchObject({ status: 403 })
})
