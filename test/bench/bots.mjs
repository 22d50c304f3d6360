/** The processes of a run: bots of one variant, the load, and what measures the stores' own commits. */
import { join } from 'node:path'
import { keyOf } from './variants.mjs'

/** Starts the bots of one variant: as many as the workload has, all on one store. */
export function startBots(variant, { processes = 1, handlerMs }, { spawnNode, profileDirectory }) {
  const bots = Array.from({ length: processes }, (_, index) => {
    const profile = profileDirectory && join(profileDirectory, `${fileNameOf(variant)}-${index + 1}.cpuprofile`)
    const config = JSON.stringify({ ...variant.bot, handlerMs, profile })
    const process = spawnNode(new URL('server.mjs', import.meta.url), [config], { NODE_ENV: 'production' })
    return { process, port: 0, profile }
  })
  return {
    variant,
    async started() {
      for (const bot of bots) bot.port = Number((await bot.process.waitForLine(/^listening (\d+)/))[1])
    },
    ports: () => bots.map(({ port }) => port),
    /** Of all together. */
    async usage() {
      const usages = await Promise.all(bots.map(({ port }) => askUsage(port)))
      return usages.reduce((sum, { cpuMs, runs, mostAtOnce }) => ({
        cpuMs: sum.cpuMs + cpuMs,
        runs: sum.runs + runs,
        mostAtOnce: sum.mostAtOnce + mostAtOnce,
      }))
    },
    profiles: () => bots.flatMap(({ profile }) => profile ?? []),
    async end() {
      for (const bot of bots) bot.process.kill('SIGTERM')
      await Promise.all(bots.map((bot) => bot.process.exited))
    },
  }
}

async function askUsage(port) {
  return (await fetch(`http://127.0.0.1:${port}/usage`)).json()
}

function fileNameOf(variant) {
  return keyOf(variant)
    .replaceAll(/[^a-zA-Z0-9]+/g, '-')
    .replaceAll(/^-|-$/g, '')
}

/** Starts the load, or the measuring of commits: what takes orders and gives results, a JSON a line. */
export function startWorker(file, args, { spawnNode }) {
  const worker = spawnNode(new URL(file, import.meta.url), args)
  return {
    async ask(order, timeoutMs) {
      worker.send(JSON.stringify(order))
      return JSON.parse((await worker.waitForLine(/^\{.*\}$/, timeoutMs))[0])
    },
    async end() {
      worker.kill('SIGTERM')
      await worker.exited
    },
  }
}
