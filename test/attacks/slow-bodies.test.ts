/** Senders that never come to the end of their body: they hold nothing that others need. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import express from 'express'
import { expect, onTestFinished, test } from 'vitest'
import { createSessionLock, sessionLock } from '../../src/index.ts'
import { post, whatsapp } from '../http/bot.ts'

const SLOW = 200

test('a body that never ends holds no session and no row, and the same message is handled for others', async () => {
  const lock = createSessionLock({ store: 'memory:', logger: false })
  const app = express()
  app.post('/webhook', sessionLock(lock), (_req, res) => void res.sendStatus(200))
  const server = createServer(app).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.closeAllConnections()
    server.close()
    await lock.close()
  })
  const { port } = server.address() as AddressInfo
  const body = JSON.stringify(whatsapp('ada'))
  const head = `POST /webhook HTTP/1.1\r\nHost: bot\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`
  const arrived = new Promise<void>((resolve) => {
    let requests = 0
    server.on('request', () => {
      requests += 1
      if (requests === SLOW) resolve()
    })
  })
  const slow = await Promise.all(
    Array.from({ length: SLOW }, async () => {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => undefined)
      await once(socket, 'connect')
      socket.write(head + body.slice(0, -1))
      return socket
    }),
  )
  await arrived
  expect(await lock.sessions()).toEqual([])
  expect(lock.counts()).toMatchObject({ waiting: 0, holding: 0 })
  const honest = await post(`http://127.0.0.1:${port}/webhook`, whatsapp('ada'))
  expect(honest.status).toBe(200)
  // Half of them give up; one comes to its end after all.
  for (const socket of slow.slice(0, SLOW / 2)) socket.destroy()
  const late = slow.at(-1)
  late?.write(body.slice(-1))
  const [answer] = (await once(late as NonNullable<typeof late>, 'data')) as [Buffer]
  expect(answer.toString()).toMatch(/^HTTP\/1.1 200[\s\S]*Session-Lock: duplicate/)
  expect((await lock.messages()).map(({ status }) => status)).toEqual(['completed'])
  for (const socket of slow) socket.destroy()
})
