/** The shortest story that breaks the same promise: acts are left out as long as it does (delta debugging). */
import { playEpisode } from './episode.mjs'

/** So many episodes are played for it at most. */
const MOST_TRIES = 400

export async function shrink(engine, plan, promise) {
  let shortest = plan
  let tries = 0

  async function stillBreaks(acts) {
    tries += 1
    const { violation } = await playEpisode(engine, { ...shortest, acts })
    return violation?.promise === promise
  }

  for (let size = Math.ceil(plan.acts.length / 2); size >= 1 && tries < MOST_TRIES; size = Math.floor(size / 2)) {
    for (let from = 0; from < shortest.acts.length && tries < MOST_TRIES; ) {
      const acts = shortest.acts.toSpliced(from, size)
      if (await stillBreaks(acts)) shortest = { ...shortest, acts }
      else from += size
    }
  }
  return shortest
}
