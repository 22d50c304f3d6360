/** What is done with a file. Put your own work here: nothing else knows what it is. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const READ_AT_ONCE_BYTES = 16 * 1024

/**
 * Counts a file's words and computes its SHA-256. Whoever loses the right to go on is stopped by `signal`.
 *
 * @param pauseMs - rests so long after each piece that was read: stands for work that is slower than counting
 */
export async function processFile(path, { pauseMs, signal }) {
  const hash = createHash('sha256')
  const words = createWordCount()
  let sizeBytes = 0
  for await (const piece of createReadStream(path, { highWaterMark: READ_AT_ONCE_BYTES, signal })) {
    hash.update(piece)
    words.add(piece)
    sizeBytes += piece.length
    if (pauseMs > 0) await sleep(pauseMs, undefined, { signal })
  }
  return { sizeBytes, words: words.count(), sha256: hash.digest('hex') }
}

/** Counts across pieces: one may end in the middle of a word, or of a letter. */
function createWordCount() {
  const decoder = new TextDecoder()
  let count = 0
  let endsInWord = false
  return {
    add(piece) {
      const text = decoder.decode(piece, { stream: true })
      if (text === '') return
      count += text.match(/\S+/g)?.length ?? 0
      if (endsInWord && /^\S/.test(text)) count -= 1
      endsInWord = /\S$/.test(text)
    },
    count: () => count,
  }
}
