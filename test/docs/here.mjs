/** What the code around a block of the documentation uses. */
import { deepEqual } from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

export { createHmac, randomUUID } from 'node:crypto'

/** Says where it is. */
export async function serve(listener) {
  const server = createServer(listener).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return `http://127.0.0.1:${server.address().port}`
}

/** A message of the WhatsApp Cloud API. */
export function deliveryOf(id) {
  const value = { messaging_product: 'whatsapp', metadata: { phone_number_id: '1000' }, messages: [{ from: id, id }] }
  const entry = [{ id: '2000', changes: [{ field: 'messages', value }] }]
  const body = JSON.stringify({ object: 'whatsapp_business_account', entry })
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body }
}

export const deliver = (url, id) => fetch(url, deliveryOf(id))

export const equal = deepEqual

export async function until(isSo) {
  while (!isSo()) await sleep(5)
}

let keepsRunning = false

/** The process ends by itself, with a code of its own. */
export function keepRunning() {
  keepsRunning = true
}

/** After all: what is still open does not keep the process alive. */
export function end() {
  if (!keepsRunning) process.exit()
}
