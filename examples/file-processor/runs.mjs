/** What really happened to the files, read from the records of the nodes: who had which file in hand, and when. */

/** One run for each time a node began a file. A run ends with its node's word, or with its node. */
export function runsIn(records) {
  const runs = []
  for (const { msg, serverId, name, time, signal } of records) {
    const open = runs.filter((run) => run.endedAt === undefined && run.serverId === serverId)
    if (msg === 'file started') runs.push({ name, serverId, startedAt: time })
    else if (msg === 'ended') for (const run of open) Object.assign(run, { endedAt: time, outcome: signal ?? 'cut' })
    else if (msg.startsWith('file ')) {
      const outcome = msg.split(' ')[1]
      for (const run of open) if (run.name === name) Object.assign(run, { endedAt: time, outcome })
    }
  }
  return runs
}

/** The runs of this file that have not ended yet. */
export function openRunsOf(name, records) {
  return runsIn(records).filter((run) => run.name === name && run.endedAt === undefined)
}

/** Every one of these files was completed, and no node has any in hand. */
export function areDone(names, records) {
  const runs = runsIn(records).filter(({ name }) => names.includes(name))
  const completed = new Set(runs.filter(({ outcome }) => outcome === 'completed').map(({ name }) => name))
  return completed.size === names.length && runs.every(({ endedAt }) => endedAt !== undefined)
}

/** @returns counts, and the files that a killed node had in hand and another node processed again */
export function judge(names, records) {
  const runs = runsIn(records)
  const byFile = names.map((name) => runs.filter((run) => run.name === name))
  const isKilled = ({ outcome }) => outcome === 'SIGKILL'
  return {
    completed: byFile.filter((ofOne) => ofOne.some(({ outcome }) => outcome === 'completed')).length,
    moreThanOnce: byFile.filter((ofOne) => ofOne.filter((run) => !isKilled(run)).length > 1).length,
    atTheSameTime: byFile.filter(haveOverlap).length,
    afterKill: runs.filter(isKilled).map(({ name, serverId }) => {
      const again = runs.find((run) => run.name === name && run.outcome === 'completed')
      return { name, killed: serverId, again: again?.serverId }
    }),
  }
}

function haveOverlap(runs) {
  const inOrder = [...runs].sort((one, other) => one.startedAt - other.startedAt)
  let latestEnd = Number.NEGATIVE_INFINITY
  return inOrder.some(({ startedAt, endedAt = Number.POSITIVE_INFINITY }) => {
    const isBeside = startedAt < latestEnd
    latestEnd = Math.max(latestEnd, endedAt)
    return isBeside
  })
}
