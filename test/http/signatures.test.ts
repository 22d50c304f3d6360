/** Signed by the vendors' own packages, over real HTTP: the right ones are handled, any others write nothing. */
import { createHmac } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { validateSignature } from '@line/bot-sdk'
import { sign as signForGithub } from '@octokit/webhooks-methods'
import express from 'express'
import { Webhook } from 'standardwebhooks'
import Stripe from 'stripe'
import twilio from 'twilio'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createSessionLock, type SessionLock, sessionLock } from '../../src/index.ts'

const SECRET = `whsec_${Buffer.from('a secret of thirty-two characters').toString('base64')}`
const ORIGIN = 'https://bot.example'

type Headers = Record<string, string>

interface Scheme {
  readonly sample: string
  /** The header that carries the signature. */
  readonly header: string
  /** Does the scheme refuse what was signed long ago? */
  readonly timed: boolean
  /** `at`: seconds. */
  sign(body: string, at: number): Headers | Promise<Headers>
}

const hmac = (body: string, encoding: 'hex' | 'base64') => createHmac('sha256', SECRET).update(body).digest(encoding)

const schemes: Readonly<Record<string, Scheme>> = {
  'whatsapp-cloud': {
    sample: 'text.json',
    header: 'x-hub-signature-256',
    timed: false,
    sign: (body) => ({ 'x-hub-signature-256': `sha256=${hmac(body, 'hex')}` }),
  },
  github: {
    sample: 'issue-comment.json',
    header: 'x-hub-signature-256',
    timed: false,
    sign: async (body) => ({
      ...headersOf('github/issue-comment'),
      'x-hub-signature-256': await signForGithub(SECRET, body),
    }),
  },
  stripe: {
    sample: 'payment.json',
    header: 'stripe-signature',
    timed: true,
    sign: (payload, timestamp) => ({
      'stripe-signature': Stripe.webhooks.generateTestHeaderString({ payload, secret: SECRET, timestamp }),
    }),
  },
  'standard-webhooks': {
    sample: 'user-created.json',
    header: 'webhook-signature',
    timed: true,
    sign: (body, at) => ({
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(at),
      'webhook-signature': new Webhook(SECRET).sign('msg_1', new Date(at * 1000), body),
    }),
  },
  twilio: {
    sample: 'sms.txt',
    header: 'x-twilio-signature',
    timed: false,
    sign: (body) => ({
      'x-twilio-signature': twilio.getExpectedTwilioSignature(
        SECRET,
        `${ORIGIN}/webhook`,
        Object.fromEntries(new URLSearchParams(body)),
      ),
    }),
  },
  line: {
    sample: 'two-people.json',
    header: 'x-line-signature',
    timed: false,
    sign(body) {
      const signature = hmac(body, 'base64')
      // The vendor's package verifies and does not sign.
      if (!validateSignature(body, SECRET, signature)) throw new Error('LINE would not take this signature')
      return { 'x-line-signature': signature }
    },
  },
  slack: {
    sample: 'message.json',
    header: 'x-slack-signature',
    timed: true,
    sign: (body, at) => ({
      'x-slack-request-timestamp': String(at),
      'x-slack-signature': `v0=${hmac(`v0:${at}:${body}`, 'hex')}`,
    }),
  },
}

function headersOf(name: string): Headers {
  const all = JSON.parse(readFileSync(new URL(`../samples/${name}.headers.json`, import.meta.url), 'utf8')) as Headers
  return Object.fromEntries(Object.entries(all).filter(([header]) => !header.startsWith(':')))
}

describe.each(Object.entries(schemes))('%s', (provider, { sample, header, timed, sign }) => {
  const body = readFileSync(new URL(`../samples/${provider}/${sample}`, import.meta.url), 'utf8')
  const now = Math.floor(Date.now() / 1000)
  let lock: SessionLock
  let url: string
  let runs = 0
  let close: () => void

  beforeAll(async () => {
    lock = createSessionLock({ store: 'memory:', logger: false, provider, secret: SECRET, publicOrigin: ORIGIN })
    const app = express()
    app.use(sessionLock(lock), (_request: express.Request, response: express.Response) => {
      runs += 1
      response.sendStatus(200)
    })
    const server = app.listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/webhook`
    close = () => server.close()
  })

  afterAll(async () => {
    close()
    await lock.close()
  })

  async function post(text: string, headers: Headers): Promise<number> {
    const type = sample.endsWith('.txt') ? 'application/x-www-form-urlencoded' : 'application/json'
    return (await fetch(url, { method: 'POST', headers: { 'content-type': type, ...headers }, body: text })).status
  }

  test('a forged delivery is answered 401, writes nothing, and keeps the real one from nothing', async () => {
    const signed = await sign(body, now)
    const signature = signed[header] as string
    const { [header]: _, ...unsigned } = signed
    const last = signature.length - (signature.endsWith('=') ? 3 : 1)
    const flipped = signature.slice(0, last) + (signature[last] === 'a' ? 'b' : 'a') + signature.slice(last + 1)
    const otherBody = body.replace(/[0-9](?=[^0-9]*$)/, (digit) => (digit === '1' ? '2' : '1'))
    const forged: Array<[string, string, Headers]> = [
      ['flipped byte', body, { ...signed, [header]: flipped }],
      ['another body', otherBody, signed],
      ['no header', body, unsigned],
      ['too short', body, { ...signed, [header]: signature.slice(0, -4) }],
      ['too long', body, { ...signed, [header]: `${signature}00` }],
    ]
    if (timed) forged.push(['old timestamp', body, await sign(body, now - 3600)])
    for (const [what, text, headers] of forged) expect([what, await post(text, headers)]).toEqual([what, 401])
    expect([runs, await lock.messages(), await lock.sessions()]).toEqual([0, [], []])
    expect([await post(body, signed), runs]).toEqual([200, 1])
    await expect.poll(async () => (await lock.messages({ status: 'completed' })).length).toBeGreaterThan(0)
  })
})
