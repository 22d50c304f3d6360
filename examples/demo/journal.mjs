/**
 * The journal: what the handlers did, in the order in which they did it. All nodes append to one file,
 * outside the store, which is written before the work begins and after it has ended; so it tells the
 * truth whatever the store believes.
 *
 * Its lines, as JSON: `start` and `end` of a message's handling, `settled` (the middleware has marked
 * these messages as handled), `takeover`, and the sender's own `killed`.
 */
import { openSync, readFileSync, writeSync } from 'node:fs'

/** Opens the journal for one process. O_APPEND: lines of several processes never mix. */
export function openJournal(path, node) {
  const file = openSync(path, 'a')
  return (what, details = {}) => {
    writeSync(file, `${JSON.stringify({ what, node, pid: process.pid, at: Date.now(), ...details })}\n`)
  }
}

export function readJournal(path) {
  const lines = readFileSync(path, 'utf8').split('\n')
  // What follows the last newline is a line that is being written.
  return lines.slice(0, -1).map((line) => JSON.parse(line))
}

/**
 * What became of the messages.
 *
 * @param records - of {@link readJournal}
 * @param messages - all that were sent
 */
export function judge(records, messages) {
  const { runs, overlapping } = replay(records)
  const runsOf = new Map(messages.map(({ id }) => [id, runs.filter((run) => run.id === id)]))
  const all = [...runsOf.values()]
  const takeovers = records.filter(({ what }) => what === 'takeover')
  const killedNodes = new Set(records.filter(({ what }) => what === 'killed').map(({ killedNode }) => killedNode))
  // A handler that the kill interrupted may run again elsewhere: nobody can know how far it had come.
  const uncut = (ofOne) => ofOne.filter((run) => !run.isKilled).length
  return {
    messages: messages.length,
    handledOnce: all.filter((ofOne) => ofOne.length === 1 && ofOne[0].hasEnded).length,
    handledAgainAfterKill: all.filter((ofOne) => ofOne.length > 1 && uncut(ofOne) === 1).length,
    handledTwice: all.filter((ofOne) => uncut(ofOne) > 1).length,
    lost: all.filter((ofOne) => !ofOne.some((run) => run.hasEnded)).length,
    overlapping,
    takeovers: takeovers.length,
    takeoversFromLiving: takeovers.filter(({ from }) => !killedNodes.has(from)).length,
  }
}

/** Goes through the journal from its beginning; the order of its lines is the order of events. */
function replay(records) {
  const runs = []
  let overlapping = 0
  for (const record of records) {
    if (record.what === 'start') {
      const isBeside = (run) => run.isOpen && run.prospect === record.prospect && run.id !== record.id
      if (runs.some(isBeside)) overlapping += 1
      const { id, pid, prospect } = record
      runs.push({ id, pid, prospect, isOpen: true, hasEnded: false, isSettled: false, isKilled: false })
    } else if (record.what === 'end') {
      const run = runs.findLast(({ id, pid, isOpen }) => isOpen && id === record.id && pid === record.pid)
      Object.assign(run, { isOpen: false, hasEnded: true })
    } else if (record.what === 'settled') {
      for (const run of runs) if (run.pid === record.pid && record.ids.includes(run.id)) run.isSettled = true
    } else if (record.what === 'killed') {
      for (const run of runs) {
        if (run.pid === record.killedPid && !run.isSettled) Object.assign(run, { isOpen: false, isKilled: true })
      }
    }
  }
  return { runs, overlapping }
}
