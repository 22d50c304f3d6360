/**
 * Delivers messages of the WhatsApp Cloud API, each of a session of its own, over kept-alive connections.
 * A process of its own, on bare sockets, so that it takes little of the CPU that is measured.
 *
 * Standard input: a JSON a line, `{ port, connections, seconds }` or `{ port, connections, deliveries }`.
 * Standard output: a JSON a line, `{ deliveries, seconds, statuses, p50Ms, p99Ms }`.
 */
import { randomInt } from 'node:crypto'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'

/** People are counted on from here, so that no two runs on one database write as the same ones. */
let person = randomInt(10 ** 10)

async function run({ port, connections, seconds = Infinity, deliveries = Infinity }) {
  const phase = { left: deliveries, until: performance.now() + seconds * 1000, statuses: {}, latenciesMs: [] }
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: connections }, () => useConnection(port, phase)))
  const tookMs = performance.now() - startedAt
  const latenciesMs = Float64Array.from(phase.latenciesMs).sort()
  const percentile = (share) => latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0
  return {
    deliveries: latenciesMs.length,
    seconds: tookMs / 1000,
    statuses: phase.statuses,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
  }
}

/** One delivery at a time, until the phase is over. */
function useConnection(port, phase) {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true }, deliver)
    let received = ''
    let sentAt = 0
    socket.setEncoding('latin1')
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('the server closed a connection')))
    socket.on('data', (text) => {
      received += text
      if (!isWhole(received)) return
      const status = received.slice(9, 12)
      phase.statuses[status] = (phase.statuses[status] ?? 0) + 1
      phase.latenciesMs.push(performance.now() - sentAt)
      deliver()
    })

    function deliver() {
      sentAt = performance.now()
      received = ''
      if (phase.left <= 0 || sentAt >= phase.until) {
        resolve()
        socket.destroy()
      } else {
        phase.left -= 1
        socket.write(nextRequest())
      }
    }
  })
}

/** Every answer of Express, and of the lock, tells its length. */
function isWhole(response) {
  const end = response.indexOf('\r\n\r\n')
  if (end < 0) return false
  const length = /\r\ncontent-length: (\d+)/i.exec(response.slice(0, end + 2))
  return response.length >= end + 4 + Number(length?.[1] ?? 0)
}

/** Prospect and message id are of one length each, so the request's own length is known. */
const FROM = '@from'.padEnd(12, '@')
const MESSAGE_ID = '@id'.padEnd(62, '@')
const [BEFORE_CONTACT, BEFORE_FROM, BEFORE_ID, AFTER] = template()

function nextRequest() {
  person = (person + 1) % 10 ** 10
  const from = `49${String(person).padStart(10, '0')}`
  const id = `wamid.${Buffer.from(`HBgMNDkxN0RFVgIAEhggQTNE00${from}`).toString('base64').padEnd(56, '=')}`
  return BEFORE_CONTACT + from + BEFORE_FROM + from + BEFORE_ID + id + AFTER
}

function template() {
  const message = { from: FROM, id: MESSAGE_ID, timestamp: '1772998024', text: { body: 'What is this?' }, type: 'text' }
  const value = {
    messaging_product: 'whatsapp',
    metadata: { display_phone_number: '15550001111', phone_number_id: '100000000000001' },
    contacts: [{ profile: { name: 'Test User' }, wa_id: FROM }],
    messages: [message],
  }
  const entry = [{ id: '100000000000002', changes: [{ value, field: 'messages' }] }]
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry })
  const head = [
    'POST /webhook HTTP/1.1',
    'Host: 127.0.0.1',
    'User-Agent: facebookexternalua',
    'Content-Type: application/json',
    `Content-Length: ${body.length}`,
  ]
  return `${head.join('\r\n')}\r\n\r\n${body}`.split(new RegExp(`${FROM}|${MESSAGE_ID}`))
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await run(JSON.parse(line))))
}
