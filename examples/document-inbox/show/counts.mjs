/** What became of the documents, counted in the tables. */
import { countOf } from './tables.mjs'

const HANDLED = 'SELECT message_id, count(*)::integer AS times FROM documents GROUP BY message_id'

/** Decisions about documents that their customer's case does not count. */
const LOST = `
  SELECT coalesce(sum(abs(decided - accepted - refused)), 0) AS count FROM cases
  JOIN (SELECT customer_id, count(*) AS decided FROM documents GROUP BY customer_id) AS made USING (customer_id)`

/**
 * @param program - one of programs.mjs
 * @param mailed - message ids that are in the table `incoming`
 * @param taken - message ids of uploads that were answered 200
 * @param dead - message ids that somebody is told of
 */
export async function countOutcomes(database, program, { mailed, taken, dead }) {
  const known = await database.query(program.known)
  const handled = await database.query(HANDLED)
  const idsOf = ({ rows }) => new Set(rows.map((row) => row.message_id))
  const [knownIds, handledIds, deadIds] = [idsOf(known), idsOf(handled), new Set(dead)]
  return {
    skipped: mailed.filter((id) => !knownIds.has(id)).length,
    twice: handled.rows.filter(({ times }) => times > 1).length,
    lostDecisions: await countOf(database, LOST),
    stuck: await countOf(database, program.inHands),
    unhandled: [...mailed, ...taken].filter((id) => !handledIds.has(id) && !deadIds.has(id)).length,
  }
}

/** One line for each count, one column for each program. */
export function printCounts(before, after) {
  const rows = [
    ['', 'old way', 'inbox'],
    ['rows of the table skipped', before.skipped, after.skipped],
    ['documents handled twice', before.twice, after.twice],
    ['unique violations', before.violations, after.violations],
    ['decisions lost', before.lostDecisions, after.lostDecisions],
    ['documents stuck with the killed worker', before.stuck, after.stuck],
    ['sign-ins failed or timed out', before.signInsFailed, after.signInsFailed],
    ['handed in, never handled, and nobody is told', before.unhandled, after.unhandled],
    ['uploads failed', before.uploadsFailed, after.uploadsFailed],
    ['taken over from the killed worker', before.takenOver, after.takenOver],
    ['uploads told to come again (503)', before.uploadsRefused, after.uploadsRefused],
    ['dead, listed at GET /dead', before.dead, after.dead],
  ]
  const cells = (numbers) => numbers.map((one) => String(one).padStart(9)).join('')
  const lines = rows.map(([name, ...numbers]) => `  ${name.padEnd(46)}${cells(numbers)}`)
  console.log(`\n${lines.join('\n')}\n`)
}

/** Says what one has seen. Returns whether the promise was kept. */
export function printVerdict(after) {
  const { skipped, twice, violations, lostDecisions, stuck, signInsFailed, unhandled, uploadsFailed } = after
  const broken = [skipped, twice, violations, lostDecisions, stuck, signInsFailed, unhandled, uploadsFailed]
  const isKept = broken.every((count) => count === 0)
  if (isKept) console.log('The inbox kept its promise: each document was handled once, or is listed as dead.')
  else console.log(`FAILED: the first ${broken.length} lines must be 0 for the inbox.`)
  return isKept
}
