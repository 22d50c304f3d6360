/** The decision table for HTTP, line by line, on both Express versions. */
import type { Response as ExpressResponse, Request } from 'express'
import { describe, expect, it } from 'vitest'
import { ClosedError, KeyError } from '../../src/engine/errors.ts'
import { sessionLock } from '../../src/http/express.ts'
import { StoreError } from '../../src/store/store.ts'
import { expressVersions, holdOf, listen, lockThat, lockThatGives, post, whatsapp } from './bot.ts'

describe.each(expressVersions)('%s', (_, express) => {
  async function botBehind({ lock }: ReturnType<typeof lockThat>, parse = true) {
    const app = express()
    let runs = 0
    const handler = (req: Request, res: ExpressResponse) => {
      runs += 1
      res.setHeader('X-Own', 'yes')
      res.status(201).json({ body: req.body, lock: req.sessionLock?.provider })
    }
    if (parse) app.use(express.json())
    app.use(sessionLock(lock))
    app.use(handler)
    return { url: await listen(app), runs: () => runs }
  }

  async function expectRefusal(response: Response, status: number, outcome: string) {
    expect(response.status).toBe(status)
    expect(response.headers.get('session-lock')).toBe(outcome)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    const problem = (await response.json()) as Record<string, unknown>
    expect(problem).toMatchObject({
      type: 'about:blank',
      status,
      title: expect.any(String),
      detail: expect.any(String),
    })
    return problem
  }

  it('acquired: the answer is the handler’s own, untouched', async () => {
    const bot = await botBehind(lockThatGives(holdOf([0])))
    const response = await post(bot.url, whatsapp('ada'))
    expect(response.status).toBe(201)
    expect(response.headers.get('x-own')).toBe('yes')
    expect(response.headers.get('session-lock')).toBeNull()
    expect(await response.json()).toEqual({ body: whatsapp('ada'), lock: 'whatsapp-cloud' })
  })

  it('duplicate of completed: 200, an empty body, and the header', async () => {
    const bot = await botBehind(lockThat({ outcome: 'duplicate', of: 'completed', response: null }))
    const response = await post(bot.url, whatsapp('ada'))
    expect(response.status).toBe(200)
    expect(response.headers.get('session-lock')).toBe('duplicate')
    expect(response.headers.get('content-length')).toBe('0')
    expect(response.headers.get('content-type')).toBeNull()
    expect(await response.text()).toBe('')
    expect(bot.runs()).toBe(0)
  })

  it('duplicate in flight: 409 and Retry-After', async () => {
    const bot = await botBehind(lockThat({ outcome: 'duplicate', of: 'in_flight', retryAfterMs: 2001 }))
    const response = await post(bot.url, whatsapp('ada'))
    expect(response.headers.get('retry-after')).toBe('3')
    await expectRefusal(response, 409, 'in-flight')
    expect(bot.runs()).toBe(0)
  })

  it('busy: 503 and Retry-After, of a second at least', async () => {
    const bot = await botBehind(lockThat({ outcome: 'busy', retryAfterMs: 3 }))
    const response = await post(bot.url, whatsapp('ada'))
    expect(response.headers.get('retry-after')).toBe('1')
    await expectRefusal(response, 503, 'busy')
    expect(bot.runs()).toBe(0)
  })

  it('part acquired, the rest completed: the handler sees the fresh messages only', async () => {
    const bot = await botBehind(lockThatGives(holdOf([0, 2], { duplicates: [1] })))
    const response = await post(bot.url, whatsapp('ada', 'bob', 'cyd'))
    expect(response.status).toBe(201)
    const { body } = (await response.json()) as {
      body: { entry: Array<{ changes: Array<{ value: { messages: unknown } }> }> }
    }
    expect(body.entry[0]?.changes[0]?.value.messages).toMatchObject([{ id: 'wamid.ada' }, { id: 'wamid.cyd' }])
  })

  it.each([
    ['busy', 503, 'busy'],
    ['in_flight', 409, 'in-flight'],
  ] as const)(
    'part acquired, part withheld (%s): the handler runs, the answer is forced',
    async (reason, status, name) => {
      const hold = holdOf([0], { withheld: { reason, retryAfterMs: 1000, messages: [1] } })
      const bot = await botBehind(lockThatGives(hold))
      const response = await post(bot.url, whatsapp('ada', 'bob'))
      expect(response.headers.get('x-own')).toBeNull()
      expect(response.headers.get('retry-after')).toBe('1')
      await expectRefusal(response, status, name)
      expect(bot.runs()).toBe(1)
      expect(await hold.settled).toEqual({ status: 'completed' })
    },
  )

  it('nothing to key on: untouched, and no claim', async () => {
    const told = lockThat(new Error('must not be asked'))
    const bot = await botBehind(told)
    for (const body of [{}, [], { hello: 'world' }, { object: 'whatsapp_business_account', entry: [] }]) {
      const response = await post(bot.url, body)
      expect(response.status).toBe(201)
      expect(await response.json()).toEqual({ body })
    }
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])
      expect((await fetch(bot.url, { method })).status).toBe(201)
    expect(told.deliveries).toEqual([])
  })

  it('unkeyed: untouched', async () => {
    const bot = await botBehind(lockThat({ outcome: 'unkeyed' }))
    expect((await post(bot.url, whatsapp('ada'))).status).toBe(201)
  })

  it('an id that cannot be one: 400, logged as an error, without the value', async () => {
    const told = lockThat(new KeyError('messageId', 'must be a string, not a number'))
    const bot = await botBehind(told)
    const problem = await expectRefusal(await post(bot.url, whatsapp('ada')), 400, 'invalid-key')
    expect(problem['detail']).toContain('messageId must be a string')
    expect(JSON.parse(told.lines.at(-1) ?? '')).toMatchObject({ level: 50, provider: 'whatsapp-cloud' })
  })

  it('store unreachable: 503 and Retry-After', async () => {
    const bot = await botBehind(lockThat(new StoreError('unreachable', 'connect ECONNREFUSED')))
    const response = await post(bot.url, whatsapp('ada'))
    expect(Number(response.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    const problem = await expectRefusal(response, 503, 'store-unavailable')
    expect(JSON.stringify(problem)).not.toContain('ECONNREFUSED')
  })

  it('closing: 503 and Retry-After', async () => {
    const bot = await botBehind(lockThat(new ClosedError()))
    const response = await post(bot.url, whatsapp('ada'))
    expect(response.headers.get('retry-after')).toBe('1')
    await expectRefusal(response, 503, 'closing')
  })

  it('any other error of a claim is for the app’s error handlers', async () => {
    const app = express()
    app.use(sessionLock(lockThat(new Error('a bug')).lock))
    app.use((error: Error, _req: unknown, res: import('express').Response, _next: unknown) => {
      res.status(500).send(error.message)
    })
    const response = await post(await listen(app), whatsapp('ada'))
    expect([response.status, await response.text()]).toEqual([500, 'a bug'])
  })
})

describe('onDuplicate and onBusy', () => {
  const express = expressVersions[1]?.[1] as (typeof expressVersions)[0][1]
  const answering = (status: number) => (_req: unknown, res: unknown, info: { of: string; retryAfterMs?: number }) =>
    (res as import('express').Response).status(status).json(info)

  async function askBehind({ lock }: ReturnType<typeof lockThat>) {
    const app = express()
    app.use(sessionLock(lock))
    return post(await listen(app), whatsapp('ada'))
  }

  it('answer in the table’s place', async () => {
    const duplicate = { outcome: 'duplicate', of: 'completed', response: null } as const
    const first = await askBehind(lockThat(duplicate, { onDuplicate: answering(208) }))
    expect([first.status, await first.json()]).toEqual([208, { of: 'completed' }])
    const second = await askBehind(lockThat({ outcome: 'busy', retryAfterMs: 5 }, { onBusy: answering(429) }))
    expect([second.status, await second.json()]).toEqual([429, { of: 'busy', retryAfterMs: 5 }])
  })

  it('leave it to the table where they do not answer', async () => {
    const { status } = await askBehind(lockThat({ outcome: 'busy', retryAfterMs: 5 }, { onBusy: () => undefined }))
    expect(status).toBe(503)
  })

  it('cannot acknowledge a duplicate in flight', async () => {
    const inFlight = { outcome: 'duplicate', of: 'in_flight', retryAfterMs: 5 } as const
    const { status } = await askBehind(lockThat(inFlight, { onDuplicate: answering(200), onBusy: answering(200) }))
    expect(status).toBe(409)
  })
})
