/** CPU profiles of a bot: taken by the bot itself, so that its start is not in them, and read into a few lines. */
import { readFileSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector/promises'

/** Starts one; what it returns ends it and writes it, for Chrome's DevTools and for {@link whereTimeWent}. */
export async function startProfile(file) {
  const session = new Session()
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.start')
  return async () => {
    const { profile } = await session.post('Profiler.stop')
    writeFileSync(file, JSON.stringify(profile))
  }
}

/** Whose code the process was in, as shares of the time that it was not idle, the largest first. */
export function whereTimeWent(file) {
  const { nodes, samples, timeDeltas } = JSON.parse(readFileSync(file, 'utf8'))
  const places = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]))
  const times = new Map()
  let all = 0
  for (const [index, id] of samples.entries()) {
    const place = places.get(id)
    if (place === '(idle)') continue
    times.set(place, (times.get(place) ?? 0) + timeDeltas[index])
    all += timeDeltas[index]
  }
  return [...times].map(([place, time]) => ({ place, share: time / all })).sort((a, b) => b.share - a.share)
}

/** A package, a folder of session-lock, Node's own JavaScript, what is built in, or what the profiler puts in brackets. */
function placeOf({ functionName, url }) {
  const [, packageName] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url) ?? []
  const [, folder] = /\/dist\/([^/]+)\//.exec(url) ?? []
  if (packageName) return packageName
  if (folder) return `session-lock ${folder}`
  if (url.startsWith('node:')) return 'Node'
  return functionName.startsWith('(') ? functionName : url === '' ? 'built in (JSON, sockets, …)' : 'the bot'
}
