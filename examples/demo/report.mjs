/** What the demo prints: progress while it runs, a table and a verdict at its end. */

const { stdout } = process
const REDRAWN_EVERY_MS = 200
const PRINTED_EVERY_MS = 3000

/**
 * Shows `describe()` again and again: as one line that changes on a terminal, as a line now and then elsewhere.
 * `say` prints a line that stays.
 */
export function showProgress(describe) {
  const isTerminal = stdout.isTTY === true
  const draw = () => {
    if (isTerminal) stdout.write(`\r\x1b[K${describe().slice(0, (stdout.columns ?? 80) - 1)}`)
    else stdout.write(`${describe()}\n`)
  }
  const timer = setInterval(draw, isTerminal ? REDRAWN_EVERY_MS : PRINTED_EVERY_MS)
  const clear = () => isTerminal && stdout.write('\r\x1b[K')
  return {
    say(line) {
      clear()
      stdout.write(`${line}\n`)
    },
    stop() {
      clearInterval(timer)
      clear()
    },
  }
}

/** The table: a name, a number, and what it means. */
export function printTable(judged, counts) {
  const rows = [
    ['deliveries', counts.deliveries, 'POSTs, redeliveries included'],
    ['  cut off', counts.cut, 'the provider lost patience and closed the connection'],
    ['  broken', counts.broken, 'the node was killed, or not there again yet'],
    ['messages', judged.messages, 'different ones, each to be handled once'],
    ['handled once', judged.handledOnce, ''],
    ['handled again after the kill', judged.handledAgainAfterKill, 'SIGKILL came in the middle of their handler'],
    ['duplicates refused', counts.duplicates + counts.inFlight, ''],
    ['  answered 200, empty', counts.duplicates, 'the message is handled'],
    ['  answered 409', counts.inFlight, 'somebody is still handling it; redelivered'],
    ['busy and redelivered', counts.busy, 'answered 503: another message of the person was being handled'],
    ['takeovers', judged.takeovers, takeoversNote(judged)],
    ['handled twice', judged.handledTwice, 'must be 0'],
    ['overlapping', judged.overlapping, 'two messages of one person at the same time; must be 0'],
    ['lost', judged.lost, 'must be 0'],
  ]
  if (counts.refused > 0) rows.splice(3, 0, ['  refused', counts.refused, 'for other reasons: see the bot’s log'])
  const widths = [0, 1].map((at) => Math.max(...rows.map((row) => String(row[at]).length)))
  const lines = rows.map(([name, number, note]) =>
    `  ${name.padEnd(widths[0])}  ${String(number).padStart(widths[1])}   ${note}`.trimEnd(),
  )
  stdout.write(`\n${lines.join('\n')}\n\n`)
}

function takeoversNote({ takeoversFromLiving }) {
  if (takeoversFromLiving === 0) return 'of stale leases, whose holder was killed'
  return `of stale leases; the holders of ${takeoversFromLiving} were not killed, but stood still for too long`
}

/** One paragraph on what one has seen. */
export function printVerdict({ judged, isGood, isProtected }) {
  if (!isProtected) {
    stdout.write(
      `Without session-lock ${judged.handledTwice} messages were handled more than once, and ${judged.overlapping} times\n` +
        'a message was handled beside another one of the same person. In a real bot each of the first is\n' +
        'a second reply (or a second charge), each of the second two conversation states written over\n' +
        'each other. "npm run demo" sends the same to the same bot with one line more.\n',
    )
  } else if (isGood) {
    stdout.write('Nothing was lost, nothing was handled twice, and no two messages of one person at the same time.\n')
  } else stdout.write('FAILED: see the lines of the table that must be 0.\n')
}
