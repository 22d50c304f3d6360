/** Stands for what reads a scan: slow, and not always able to. Put your own in its place. */
import { setTimeout as sleep } from 'node:timers/promises'
import { numberSetting } from './settings.mjs'

const READ_MS = numberSetting('READ_MS', 1000)

/** Resolves to `accepted` or `refused`. `signal` aborts when the work is no longer ours to do. */
export async function readDocument(document, signal) {
  await sleep(READ_MS, undefined, { signal })
  if (document.includes('illegible')) throw new Error('the scan cannot be read')
  return document.includes('signed') ? 'accepted' : 'refused'
}
