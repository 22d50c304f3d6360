/** Bodies and signatures as the WhatsApp Cloud API sends them. */
import { createHmac } from 'node:crypto'

const DEVICE = { display_phone_number: '15550001111', phone_number_id: '100000000000001' }

/** The body of one delivery. The messages of one person share a change, as Meta batches them. */
export function bodyOf(messages) {
  const prospects = [...new Set(messages.map((message) => message.prospect))]
  return JSON.stringify({
    object: 'whatsapp_business_account',
    entry: [
      {
        id: '100000000000002',
        changes: prospects.map((prospect) => ({
          field: 'messages',
          value: {
            messaging_product: 'whatsapp',
            metadata: DEVICE,
            contacts: [{ profile: { name: `Customer ${prospect.slice(-4)}` }, wa_id: prospect }],
            messages: messages.filter((message) => message.prospect === prospect).map(messageOf),
          },
        })),
      },
    ],
  })
}

function messageOf({ id, prospect, thinkMs }) {
  const timestamp = String(Math.floor(Date.now() / 1000))
  return { from: prospect, id, timestamp, type: 'text', text: { body: `A question to think about for ${thinkMs} ms` } }
}

/** A new message id. Meta's are base64 too, and hold the number. */
export function wamid(prospect, random) {
  const unique = Array.from({ length: 4 }, () => random.between(0, 0xffff).toString(16).padStart(4, '0')).join('')
  return `wamid.${Buffer.from(`\x1d\x0b${prospect}\x15\x02\x00${unique.toUpperCase()}\x00`, 'latin1').toString('base64')}`
}

/** What Meta signs its deliveries with: the header `X-Hub-Signature-256`. */
export function signatureOf(body, appSecret) {
  return `sha256=${createHmac('sha256', appSecret).update(body).digest('hex')}`
}
