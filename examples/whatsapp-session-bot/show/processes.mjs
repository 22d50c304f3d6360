/** The bots, and the programs that are run beside them: each a process of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const EXAMPLE = new URL('../', import.meta.url)
const running = new Set()
// However the show ends, nothing of it goes on.
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

function start(script, args, environment) {
  const env = { ...process.env, ...environment }
  const child = spawn(process.execPath, [fileURLToPath(script), ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  const exited = once(child, 'close').then(([code]) => {
    running.delete(child)
    return code
  })
  const lines = []
  const errors = []
  const onLine = new Set()
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line)
    for (const tell of onLine) tell(line)
  })
  child.stderr.setEncoding('utf8').on('data', (text) => errors.push(text))

  /** The first line, past or to come, that holds the text. */
  async function line(text) {
    const said = () => lines.find((one) => one.includes(text))
    const hasCome = new Promise((resolve) => {
      onLine.add((one) => one.includes(text) && resolve())
    })
    await Promise.race([said() ?? hasCome, exited])
    const found = said()
    if (found !== undefined) return found
    throw new Error(`${fileURLToPath(script)} ended without saying "${text}":\n${lines.join('\n')}\n${errors.join('')}`)
  }

  return { child, exited, lines, errors, line }
}

/** Starts a bot of this example, and waits until it listens. */
export async function startBot(file, environment) {
  const { child, exited, lines, line } = start(new URL(file, EXAMPLE), [], { PORT: '0', ...environment })
  const port = /port (\d+)/.exec(await line('the bot listens on port'))[1]
  return {
    webhook: `http://127.0.0.1:${port}/webhook`,
    line,
    /** How many lines of its log hold the text. */
    count: (text) => lines.filter((one) => one.includes(text)).length,
    /** No time to tidy up, as when the machine loses power. */
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    async stop() {
      child.kill('SIGTERM')
      const code = await exited
      if (code !== 0) throw new Error(`a bot ended with code ${code}:\n${lines.join('\n')}`)
    },
  }
}

/** Runs `node adopt.mjs <command>`. `line` waits for a line of it, `done` for its end. */
export function runAdopt(command, environment) {
  return run(new URL('adopt.mjs', EXAMPLE), [command], environment)
}

/** Runs `npx session-lock <command>`. */
export function runSessionLock(args, environment) {
  const program = new URL('dist/cli/main.js', import.meta.resolve('session-lock/package.json'))
  return run(program, args, environment)
}

function run(script, args, environment) {
  const { exited, lines, errors, line } = start(script, args, environment)
  const done = exited.then((code) => {
    if (code === 0) return
    throw new Error(`${args.join(' ')} ended with code ${code}:\n${lines.join('\n')}\n${errors.join('')}`)
  })
  return { line, done }
}
