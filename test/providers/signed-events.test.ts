/** Stripe, GitHub, Standard Webhooks and Chatwoot: what their own signers sign is taken, and nothing else. */
import { createHmac } from 'node:crypto'
import { sign as signForGithub } from '@octokit/webhooks-methods'
import { Webhook } from 'standardwebhooks'
import { Stripe } from 'stripe'
import { Webhook as SvixWebhook } from 'svix'
import { describe, expect, it } from 'vitest'
import { chatwoot } from '../../src/providers/chatwoot.ts'
import { github } from '../../src/providers/github.ts'
import type { Provider } from '../../src/providers/provider.ts'
import { standardWebhooks } from '../../src/providers/standard-webhooks.ts'
import { stripe } from '../../src/providers/stripe.ts'

const NOW = 1_767_225_600_000
const FIVE_MINUTES = 5 * 60_000

type Headers = Readonly<Record<string, string>>

interface Scheme {
  readonly name: string
  readonly provider: Provider
  readonly secret: string
  readonly otherSecret: string
  /** The header that holds the signature. */
  readonly header: string
  /** false: nothing tells when it was signed. */
  readonly isTimed: boolean
  /** Signs as the vendor does, at a time. */
  sign(text: string, secret: string, at: number): Headers | Promise<Headers>
}

const base64Secret = (text: string) => `whsec_${Buffer.from(text).toString('base64')}`

const schemes: readonly Scheme[] = [
  {
    name: 'stripe',
    provider: stripe,
    secret: 'whsec_of_this_endpoint',
    otherSecret: 'whsec_of_another',
    header: 'stripe-signature',
    isTimed: true,
    sign: (payload, secret, at) => ({
      'stripe-signature': Stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp: at / 1000 }),
    }),
  },
  {
    name: 'github',
    provider: github,
    secret: 'secret of this hook',
    otherSecret: 'secret of another',
    header: 'x-hub-signature-256',
    isTimed: false,
    sign: async (text, secret) => ({ 'x-hub-signature-256': await signForGithub(secret, text) }),
  },
  {
    name: 'standard-webhooks',
    provider: standardWebhooks,
    secret: base64Secret('a secret of twenty-four b'),
    otherSecret: base64Secret('another one of twenty-fou'),
    header: 'webhook-signature',
    isTimed: true,
    sign: (text, secret, at) => ({
      'webhook-id': 'msg_1',
      'webhook-timestamp': String(at / 1000),
      'webhook-signature': new Webhook(secret).sign('msg_1', new Date(at), text),
    }),
  },
  {
    name: 'standard-webhooks under svix names',
    provider: standardWebhooks,
    secret: base64Secret('a secret of twenty-four b'),
    otherSecret: base64Secret('another one of twenty-fou'),
    header: 'svix-signature',
    isTimed: true,
    sign: (text, secret, at) => ({
      'svix-id': 'msg_1',
      'svix-timestamp': String(at / 1000),
      'svix-signature': new SvixWebhook(secret).sign('msg_1', new Date(at), text),
    }),
  },
  {
    name: 'chatwoot',
    provider: chatwoot,
    secret: 'secret of this hook',
    otherSecret: 'secret of another',
    header: 'x-chatwoot-signature',
    isTimed: true,
    sign: (text, secret, at) => ({
      'x-chatwoot-timestamp': String(at / 1000),
      'x-chatwoot-signature': `sha256=${createHmac('sha256', secret)
        .update(`${at / 1000}.${text}`)
        .digest('hex')}`,
    }),
  },
]

const text = '{"id":"evt_1","text":"zwölf Boxkämpfer"}'

/** Asks the provider about a delivery with this body and these headers. */
function checkOf({ provider, secret }: Scheme) {
  return (headers: Headers, body = text, now = NOW) =>
    provider.isSigned?.({ method: 'POST', url: '/', headers, body: undefined, rawBody: Buffer.from(body) }, secret, now)
}

describe.each(schemes)('$name', (scheme) => {
  const { secret, otherSecret, header, sign } = scheme
  const isSigned = checkOf(scheme)

  it('takes what the vendor signs', async () => {
    expect(isSigned(await sign(text, secret, NOW))).toBe(true)
    expect(isSigned(await sign('{}', secret, NOW), '{}')).toBe(true)
  })

  it('takes no other body and no other secret', async () => {
    expect(isSigned(await sign(text, secret, NOW), `${text} `)).toBe(false)
    expect(isSigned(await sign(text, otherSecret, NOW))).toBe(false)
  })

  it('takes no signature with a changed character, wherever it stands', async () => {
    const headers = await sign(text, secret, NOW)
    const signature = headers[header] as string
    for (let at = 0; at < signature.length; at++) {
      const changed = `${signature.slice(0, at)}${signature[at] === '1' ? '2' : '1'}${signature.slice(at + 1)}`
      expect(isSigned({ ...headers, [header]: changed }), changed).toBe(false)
    }
  })

  it('takes no header of another length, and none at all', async () => {
    const headers = await sign(text, secret, NOW)
    const signature = headers[header] as string
    for (const wrong of ['', ' ', ',', '=', 't=', 'v1=', 'v1,', 'sha256=', signature.slice(0, -1), `${signature}0`])
      expect(isSigned({ ...headers, [header]: wrong }), wrong).toBe(false)
    for (const name of Object.keys(headers)) {
      const { [name]: _, ...rest } = headers
      expect(isSigned(rest), `without ${name}`).toBe(false)
    }
    expect(isSigned({})).toBe(false)
  })
})

describe.each(schemes.filter(({ isTimed }) => isTimed))('the time of $name', (scheme) => {
  const { secret, sign } = scheme
  const isSigned = checkOf(scheme)

  it('takes nothing that was signed more than five minutes ago, or for later', async () => {
    const headers = await sign(text, secret, NOW)
    for (const within of [-FIVE_MINUTES, FIVE_MINUTES]) expect(isSigned(headers, text, NOW + within)).toBe(true)
    for (const beyond of [-FIVE_MINUTES - 1000, FIVE_MINUTES + 1000])
      expect(isSigned(headers, text, NOW + beyond)).toBe(false)
  })

  it('takes no time that is none', async () => {
    const headers = await sign(text, secret, NOW)
    for (const time of ['', 'NaN', '-1', '1e9', '1767225600.0', '99999999999999999999']) {
      const changed = Object.entries(headers).map(([name, value]) => [name, value.replace('1767225600', time)])
      expect(isSigned(Object.fromEntries(changed)), time).toBe(false)
    }
  })
})

it('takes one of several signatures, as they come while a secret is replaced', async () => {
  const rawBody = Buffer.from(text)
  const delivery = { method: 'POST', url: '/', body: undefined, rawBody }
  const wrong = '0'.repeat(64)
  const right = createHmac('sha256', 'one')
    .update(`${NOW / 1000}.${text}`)
    .digest('hex')
  const rolled = { 'stripe-signature': `t=${NOW / 1000}, v1=${wrong}, v1=${right}, v0=${wrong}` }
  expect(stripe.isSigned({ ...delivery, headers: rolled }, 'one', NOW)).toBe(true)
  const onlyOld = { 'stripe-signature': `t=${NOW / 1000},v0=${right}` }
  expect(stripe.isSigned({ ...delivery, headers: onlyOld }, 'one', NOW)).toBe(false)

  const secret = base64Secret('a secret of twenty-four b')
  const signature = new Webhook(secret).sign('msg_1', new Date(NOW), text)
  const headers = (signatures: string) => ({
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(NOW / 1000),
    'webhook-signature': signatures,
  })
  const both = headers(`v1a,AAAA v1,BBBB ${signature}`)
  expect(standardWebhooks.isSigned({ ...delivery, headers: both }, secret, NOW)).toBe(true)
  expect(standardWebhooks.isSigned({ ...delivery, headers: both }, secret.slice(6), NOW)).toBe(true)
  const otherVersion = headers(signature.replace('v1', 'v1a'))
  expect(standardWebhooks.isSigned({ ...delivery, headers: otherVersion }, secret, NOW)).toBe(false)
})

it('takes no signature under a secret that is empty once decoded', () => {
  const signature = createHmac('sha256', '')
    .update(`msg_1.${NOW / 1000}.${text}`)
    .digest('base64')
  const headers = {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(NOW / 1000),
    'webhook-signature': `v1,${signature}`,
  }
  const delivery = { method: 'POST', url: '/', headers, body: undefined, rawBody: Buffer.from(text) }
  expect(standardWebhooks.isSigned(delivery, 'whsec_', NOW)).toBe(false)
})
