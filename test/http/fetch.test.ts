/** Handlers that take a `Request` and return a `Response`, called as a platform calls them. */
import { getRequestListener } from '@hono/node-server'
import { describe, expect, it } from 'vitest'
import { withSessionLock } from '../../src/http/fetch.ts'
import { holdOf, lockThat, lockThatGives, pause, postAndLeave, whatsapp } from './bot.ts'
import { ask, serve } from './frameworks.ts'

describe('fetch', () => {
  it('the request reads as if nobody had, and the context is handed on', async () => {
    const { lock } = lockThatGives(holdOf([0]))
    const handler = withSessionLock<{ params: string }>(lock, async (request, { params, sessionLock }) => {
      expect(sessionLock?.body).toEqual(whatsapp('ada'))
      return Response.json({ params, body: await request.json(), token: sessionLock?.fencingToken })
    })
    const answer = await (await handler(ask(whatsapp('ada')), { params: 'p' })).json()
    expect(answer).toEqual({ params: 'p', body: whatsapp('ada'), token: 7 })
  })

  it('a short answer is finished without a client; a long one when it is read, or given up', async () => {
    const short = holdOf([0])
    await withSessionLock(lockThatGives(short).lock, () => new Response('ok'))(ask(whatsapp('ada')))
    expect(await short.settled).toEqual({ status: 'completed' })

    const megabyte = () => new Response('x'.repeat(1_000_000)).body?.pipeThrough(new TransformStream()) ?? null
    for (const [end, status] of [
      [(body: ReadableStream | null) => new Response(body).text(), 'completed'],
      [(body: ReadableStream | null) => body?.cancel(), 'failed'],
    ] as const) {
      const hold = holdOf([0])
      const chunks = () => new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(40_000)) })
      const body = status === 'failed' ? chunks() : megabyte()
      const response = await withSessionLock(lockThatGives(hold).lock, () => new Response(body))(ask(whatsapp('ada')))
      await pause(20)
      if (status === 'failed') expect(hold.result).toBeUndefined()
      await end(response.body)
      expect((await hold.settled).status).toBe(status)
    }
  })

  it('a body that breaks fails the message', async () => {
    const hold = holdOf([0])
    const broken = new ReadableStream({ pull: () => Promise.reject(new Error('no luck')) })
    const response = await withSessionLock(lockThatGives(hold).lock, () => new Response(broken))(ask(whatsapp('ada')))
    await expect(response.text()).rejects.toThrow()
    expect(await hold.settled).toMatchObject({ status: 'failed', error: { message: 'no luck' } })
  })

  it('a throw fails the message, and is the caller’s', async () => {
    const hold = holdOf([0])
    const handler = withSessionLock(lockThatGives(hold).lock, () => {
      throw new Error('no luck')
    })
    await expect(handler(ask(whatsapp('ada')))).rejects.toThrow('no luck')
    expect((await hold.settled).status).toBe('failed')
  })

  it('wrapped twice, claimed once, and both promises count', async () => {
    const { lock, deliveries } = lockThatGives(holdOf([0]))
    const handler = withSessionLock(lock, () => new Response('ok'))
    const outer = withSessionLock(lock, (request) => handler(request))
    expect(await (await outer(ask(whatsapp('ada')))).text()).toBe('ok')
    expect(deliveries).toHaveLength(1)
  })

  it('too large, with or without a length: 413', async () => {
    const { lock, deliveries } = lockThatGives(holdOf([0]), { bodyLimitBytes: 1000 })
    const handler = withSessionLock(lock, () => new Response('ran'))
    const endlessBody = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(400)) })
    for (const init of [{ body: 'x'.repeat(2000) }, { body: endlessBody, duplex: 'half' }]) {
      const response = await handler(ask({}, init as RequestInit))
      expect([response.status, response.headers.get('session-lock')]).toEqual([413, 'body-too-large'])
    }
    expect(deliveries).toEqual([])
  })

  it.each([
    ['a compressed body', 415, { 'content-type': 'application/json', 'content-encoding': 'gzip' }],
    ['text that is not UTF-8', 400, { 'content-type': 'application/json' }],
  ])('%s: %i', async (_, status, headers) => {
    const handler = withSessionLock(lockThatGives(holdOf([0])).lock, () => new Response('ran'))
    const response = await handler(ask({}, { headers, body: new Uint8Array([0x22, 0xff, 0x22]) }))
    expect([response.status, response.headers.get('session-lock')]).toEqual([status, 'invalid-body'])
  })

  it('a request that somebody has read is refused with words', async () => {
    const request = ask(whatsapp('ada'))
    await request.text()
    const handler = withSessionLock(lockThatGives(holdOf([0])).lock, () => new Response('ran'))
    await expect(handler(request)).rejects.toThrow('give withSessionLock() the request as it came')
  })

  it('other content types pass unread', async () => {
    const handler = withSessionLock(
      lockThat(new Error('claimed')).lock,
      async (request) => new Response(await request.text()),
    )
    const response = await handler(ask({}, { headers: { 'content-type': 'text/plain' }, body: 'hello' }))
    expect(await response.text()).toBe('hello')
  })

  it('a forced answer waits for the handler’s own to end; one that never does fails when the client is gone', async () => {
    const hold = holdOf([0], { withheld: { reason: 'busy', retryAfterMs: 1000, messages: [1] } })
    const { lock } = lockThatGives(hold)
    const handler = withSessionLock(
      lock,
      () =>
        new Response(
          new ReadableStream({ pull: (controller) => pause(5).then(() => controller.enqueue(new Uint8Array(1))) }),
        ),
    )
    const url = await serve(getRequestListener((request) => handler(request)))
    await postAndLeave(url, whatsapp('ada', 'bob'), pause(100))
    expect(await hold.settled).toMatchObject({
      status: 'failed',
      error: { message: expect.stringContaining('middle of the answer') },
    })
  })
})
