/** What became of the traffic, and how it is told. */
import { VISITS_IN_BATCH } from './traffic.mjs'

/**
 * @param orders - of `sendOrders`
 * @param batches - how many there were
 * @param failed - of `failedOpenings`
 * @param contents - of `contents.mjs`; undefined where the file could not be read
 */
export function judge({ orders, batches, failed, contents }) {
  const stored = new Set(contents?.orders)
  const visits = (contents?.visits ?? []).map((batch) => batch.visits)
  const { sent, accepted } = orders
  return {
    failedOpenings: failed.length,
    text: failed[0],
    orders: sent,
    accepted: accepted.length,
    ordersLost: sent - accepted.length,
    notInFile: accepted.filter((id) => !stored.has(id)).length,
    storedTwice: (contents?.orders.length ?? 0) - stored.size,
    batches,
    batchesLost: batches - visits.length,
    batchesWrong: visits.filter((count) => count !== VISITS_IN_BATCH).length,
    comeAgain: orders.comeAgain,
    isReadable: contents !== undefined,
  }
}

/** Did it hold what is promised? */
export function isGood(judged) {
  const { failedOpenings, ordersLost, notInFile, storedTwice, batchesLost, batchesWrong, isReadable } = judged
  return isReadable && failedOpenings + ordersLost + notInFile + storedTwice + batchesLost + batchesWrong === 0
}

export function printJudged(title, judged) {
  const { orders, accepted, batches, comeAgain } = judged
  const toldAgain = comeAgain > 0 ? `, ${comeAgain} of them after a 503` : ''
  const rows = [
    ['openings that failed', judged.failedOpenings, judged.text ?? ''],
    ['orders acknowledged', accepted, `answered 201, of ${orders}${toldAgain}`],
    ['orders lost', judged.ordersLost, 'answered with an error'],
    ['orders lost in silence', judged.notInFile, 'answered 201, and not in the file'],
    ['batches lost', judged.batchesLost, `of ${batches}`],
    ['batches wrong', judged.batchesWrong, 'in the file in part, or twice'],
  ]
  const lines = rows.map(([name, count, note]) =>
    `  ${name.padEnd(22)} ${String(count).padStart(3)}   ${note}`.trimEnd(),
  )
  if (!judged.isReadable) lines.push('  The file can no longer be read.')
  console.log(`\n${title}\n${lines.join('\n')}`)
}
