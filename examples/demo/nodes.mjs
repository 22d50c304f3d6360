/** The bot's processes: starting, killing, stopping. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const BOT = fileURLToPath(new URL('bot.mjs', import.meta.url))
const STARTS_WITHIN_MS = 20_000
const STOPS_WITHIN_MS = 15_000

/**
 * Starts a node and waits until it listens, on a port of the system's choice.
 *
 * @param settings - what the bot is told; its own output goes to `settings.logPath`
 */
export async function startNode(settings) {
  const log = openSync(settings.logPath, 'a')
  const child = fork(BOT, [JSON.stringify(settings)], { stdio: ['ignore', log, log, 'ipc'] })
  const exited = once(child, 'exit')
  const said = await within(STARTS_WITHIN_MS, Promise.race([once(child, 'message'), exited]))
  if (typeof said?.[0]?.port !== 'number') {
    child.kill('SIGKILL')
    throw new Error(`${settings.node} did not start; what it said is in ${settings.logPath}`)
  }
  return {
    name: settings.node,
    pid: child.pid,
    url: `http://127.0.0.1:${said[0].port}/webhook`,
    /** No chance to say goodbye: as when the machine loses power, or memory runs out. */
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    /** Asks it to end by itself; resolves to whether it did so, cleanly. */
    async stop() {
      if (child.connected) child.send('stop')
      const ended = await within(STOPS_WITHIN_MS, exited)
      if (!ended) child.kill('SIGKILL')
      return ended?.[0] === 0
    },
    /** At once, when the demo is interrupted. */
    abandon: () => child.kill('SIGKILL'),
  }
}

/** The promise's value; undefined where it takes too long. */
async function within(limitMs, promise) {
  let timer
  const limit = new Promise((resolve) => {
    timer = setTimeout(resolve, limitMs)
  })
  try {
    return await Promise.race([promise, limit])
  } finally {
    clearTimeout(timer)
  }
}
