/**
 * Delivers messages of the WhatsApp Cloud API over kept-alive connections. A process of its own, on bare sockets, so
 * that it takes little of the CPU that is measured.
 *
 * Standard input: a JSON a line, `{ ports, traffic, connections, seconds }` or, with a count, `deliveries`; the
 * connections are spread over the ports. Standard output: a JSON a line,
 * `{ deliveries, messages, seconds, statuses, p50Ms, p99Ms }`.
 */
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { connectionsOf, TRAFFIC } from './workloads.mjs'

/** People and messages are counted on from here, so that no two runs on one database write as the same ones. */
let counter = randomInt(10 ** 10)

async function run({ ports, traffic = 'different', connections: wanted, seconds = Infinity, deliveries = Infinity }) {
  const statuses = {}
  const latenciesMs = []
  const count = connectionsOf(traffic, wanted)
  const connections = await Promise.all(
    Array.from({ length: count }, (_, index) =>
      openConnection(ports[index % ports.length], (status, latencyMs) => {
        statuses[status] = (statuses[status] ?? 0) + 1
        latenciesMs.push(latencyMs)
      }),
    ),
  )
  const startedAt = performance.now()
  const phase = startPhase(startedAt + seconds * 1000, deliveries)
  await TRAFFIC[traffic](connections, phase)
  const tookMs = performance.now() - startedAt
  for (const connection of connections) connection.close()
  const sorted = Float64Array.from(latenciesMs).sort()
  const percentile = (share) => sorted[Math.floor(sorted.length * share)] ?? 0
  return {
    deliveries: sorted.length,
    messages: phase.messages(),
    seconds: tookMs / 1000,
    statuses,
    p50Ms: percentile(0.5),
    p99Ms: percentile(0.99),
  }
}

function startPhase(until, deliveries) {
  let left = deliveries
  let messages = 0
  const newPerson = () => {
    counter = (counter + 1) % 10 ** 10
    return counter
  }
  return {
    /** To be asked before each delivery, which it counts. */
    isOver() {
      left -= 1
      return left < 0 || performance.now() >= until
    },
    newPerson,
    newMessage(person) {
      messages += 1
      const id = newPerson()
      return requestOf(id, person ?? id)
    },
    messages: () => messages,
  }
}

/** What no bot answers but with 404. */
const GREETING = 'GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n'

/**
 * One delivery at a time. Ready once the bot has answered on it: a busy process accepts one new connection each time
 * around its loop, so that the last of many would wait for most of the measurement.
 */
async function openConnection(port, onAnswer) {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await once(socket, 'connect')
  socket.write(GREETING)
  await once(socket, 'data')
  let received = ''
  let sentAt = 0
  let answered
  socket.setEncoding('latin1')
  const fail = (error) => {
    throw new Error(`a connection was lost (${error?.message ?? 'closed by the server'})`)
  }
  socket.on('error', fail)
  socket.on('close', fail)
  socket.on('data', (text) => {
    received += text
    if (!isWhole(received)) return
    onAnswer(received.slice(9, 12), performance.now() - sentAt)
    answered()
  })
  return {
    deliver(request) {
      received = ''
      sentAt = performance.now()
      socket.write(request)
      return new Promise((resolve) => {
        answered = resolve
      })
    },
    close() {
      socket.off('close', fail)
      socket.destroy()
    },
  }
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

function requestOf(message, person) {
  const from = `49${String(person).padStart(10, '0')}`
  const unique = `HBgMNDkxN0RFVgIAEhggQTNE0049${String(message).padStart(10, '0')}`
  const id = `wamid.${Buffer.from(unique).toString('base64').padEnd(56, '=')}`
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
