/**
 * One process with one of the queues, which receives messages and handles them. Started with a JSON of
 * `{ queue, url, tablePrefix? }`.
 *
 * Standard input: a JSON a line, `{ messages, sessions, receivers }`. Standard output: `ready`, then a JSON a line,
 * `{ seconds, receivedSeconds, cpuMs, disorders }`.
 */
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { QUEUES } from './inbox-queues.mjs'

/** A message of the WhatsApp Cloud API, as it comes. */
const TEMPLATE = {
  object: 'whatsapp_business_account',
  entry: [
    {
      id: '100000000000002',
      changes: [
        {
          value: {
            messaging_product: 'whatsapp',
            metadata: { display_phone_number: '15550001111', phone_number_id: '100000000000001' },
            contacts: [{ profile: { name: 'Test User' }, wa_id: '491700000000' }],
            messages: [
              { from: '491700000000', timestamp: '1772998024', text: { body: 'What is this?' }, type: 'text' },
            ],
          },
          field: 'messages',
        },
      ],
    },
  ],
}

const { queue: name, ...settings } = JSON.parse(process.argv[2])
let run
const queue = await QUEUES[name](settings, (session, body) => run?.handled(session, body))
console.log('ready')

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await measure(JSON.parse(line))))
}
await queue.stop()
process.exit()

async function measure({ messages, sessions, receivers }) {
  let resolve
  const allHandled = new Promise((handled) => {
    resolve = handled
  })
  const latest = new Map()
  let left = messages
  let disorders = 0
  run = {
    handled(session, { number }) {
      if ((latest.get(session) ?? -1) >= number) disorders += 1
      latest.set(session, number)
      left -= 1
      if (left === 0) resolve()
    },
  }
  const startedAt = performance.now()
  const startedCpu = process.cpuUsage()
  let next = 0
  const tag = startedAt.toString(36)
  const receive = async () => {
    while (next < messages) {
      const number = next++
      await queue.receive(`s${sessionOf(number, sessions)}`, { id: `${tag}-${number}`, number, ...TEMPLATE })
    }
  }
  await Promise.all(Array.from({ length: receivers }, receive))
  const receivedSeconds = (performance.now() - startedAt) / 1000
  await allHandled
  while ((await queue.waiting()) > 0) await sleep(5)
  const seconds = (performance.now() - startedAt) / 1000
  const { user, system } = process.cpuUsage(startedCpu)
  return { seconds, receivedSeconds, cpuMs: (user + system) / 1000, disorders }
}

/** Spread evenly, in no order of their own. */
function sessionOf(number, sessions) {
  return Math.floor((((number * 2654435761) % 4294967296) / 4294967296) * sessions)
}
