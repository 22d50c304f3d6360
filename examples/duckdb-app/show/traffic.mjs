/** What comes in: customers who order, and files of visits. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const PRODUCTS = ['coffee', 'tea', 'cocoa']
const PATIENCE_MS = 30_000
export const VISITS_IN_BATCH = 200

/** Writes one batch as a CSV file. */
export function writeBatch(directory, number) {
  const visits = Array.from({ length: VISITS_IN_BATCH }, (_, at) => `${PRODUCTS[at % PRODUCTS.length]},${at % 60}`)
  writeFileSync(join(directory, `visits-${number}.csv`), `product,seconds\n${visits.join('\n')}\n`)
}

/** Several customers, one after the other, who do not wait for each other. Resolves to what became of their orders. */
export async function sendOrders(url, ids, gapMs) {
  const orders = []
  for (const id of ids) {
    orders.push(sendOrder(url, id))
    await sleep(gapMs)
  }
  const answers = await Promise.all(orders)
  return {
    sent: ids.length,
    accepted: answers.filter(({ isAccepted }) => isAccepted).map(({ id }) => id),
    comeAgain: answers.filter(({ comeAgain }) => comeAgain > 0).length,
  }
}

/** A customer comes again when told so by 503, and takes any other error for an answer. */
async function sendOrder(url, id) {
  const order = { id, product: PRODUCTS[id.length % PRODUCTS.length], amount: 2.5 }
  const request = { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(order) }
  const signal = AbortSignal.timeout(PATIENCE_MS)
  for (let comeAgain = 0; ; comeAgain++) {
    try {
      const response = await fetch(`${url}/orders`, { ...request, signal })
      await response.arrayBuffer()
      if (response.status !== 503) return { id, isAccepted: response.status === 201, comeAgain }
      await sleep(Number(response.headers.get('Retry-After')) * 1000, undefined, { signal })
    } catch {
      return { id, isAccepted: false, comeAgain }
    }
  }
}
