/** The show's processes: starting, killing and stopping nodes, and what they say, all in one record. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const WITHIN_MS = 20_000

/**
 * @param script - node.mjs or old-way.mjs
 * @param environment - what all of its nodes are told
 */
export function createNodes(script, environment) {
  const file = fileURLToPath(new URL(script, import.meta.url))
  const records = []
  const waiting = new Set()

  function note(record) {
    records.push(record)
    for (const look of waiting) look()
  }

  /** What `look` finds in the records, as soon as it finds something. */
  function until(what, look) {
    return new Promise((resolve, reject) => {
      const lookAgain = () => {
        const found = look(records)
        if (found) end(() => resolve(found))
      }
      const timer = setTimeout(() => end(() => reject(new Error(`waited too long for ${what}`))), WITHIN_MS)
      const end = (settle) => {
        clearTimeout(timer)
        waiting.delete(lookAgain)
        settle()
      }
      waiting.add(lookAgain)
      lookAgain()
    })
  }

  /** Runs the script once; resolves when it has said that it is ready. */
  async function start(serverId, ...args) {
    const env = { ...process.env, ...environment, NODE_ID: serverId, PORT: '0' }
    const child = spawn(process.execPath, [file, ...args], { env, stdio: ['ignore', 'pipe', 'inherit'] })
    const killWithUs = () => child.kill('SIGKILL')
    process.once('exit', killWithUs)
    createInterface({ input: child.stdout }).on('line', (line) => note(JSON.parse(line)))
    const ended = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        process.off('exit', killWithUs)
        note({ serverId, time: Date.now(), msg: 'ended', code, signal })
        resolve(code)
      })
    })
    const isReady = ({ serverId: who, msg }) => who === serverId && /^(the node|cleaned up|ended)/.test(msg)
    const ready = await until(`${serverId} to start`, () => records.find(isReady))
    if (ready.msg === 'ended') throw new Error(`${serverId} did not start`)
    return {
      serverId,
      url: `http://127.0.0.1:${ready.port}`,
      ended,
      /** Ends it and resolves to its exit code; null after SIGKILL. */
      end(signal) {
        child.kill(signal)
        return ended
      },
    }
  }

  return { records, until, start }
}
