/**
 * The bot under test: Express 5 with a handler that does nothing, or for some milliseconds nothing, so that what is
 * measured is the way to it. Started with a JSON of `{ protection?, options?, handlerMs?, profile? }`: a file of
 * `protections/` (absent for bare Express) and what it takes, and where to write a CPU profile at the end.
 *
 * GET /usage tells the CPU time of this process so far, how often the handler ran, and how many times over at once
 * since it was last asked. GET /stats tells what the lock has counted, GET /heap what is left after the garbage is
 * collected, in MB.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import express from 'express'
import { startProfile } from './profile.mjs'

const { protection, options, handlerMs = 0, profile } = JSON.parse(process.argv[2] ?? '{}')

let runs = 0
let atOnce = 0
let mostAtOnce = 0
const count = () => {
  runs += 1
  atOnce += 1
  mostAtOnce = Math.max(mostAtOnce, atOnce)
}
const atOnceToo = (_req, res) => {
  count()
  res.sendStatus(200)
  atOnce -= 1
}
const later = async (_req, res) => {
  count()
  await sleep(handlerMs)
  res.sendStatus(200)
  atOnce -= 1
}
const bot = handlerMs > 0 ? later : atOnceToo

const bare = { middleware: [], handler: bot }
const { protect } = protection ? await import(`./protections/${protection}.mjs`) : { protect: async () => bare }
const { middleware, handler, stats, close } = await protect({ ...options, handler: bot })

const app = express()
app.use('/webhook', express.json(), ...middleware)
app.post('/webhook', handler)
app.get('/stats', async (_req, res) => res.json((await stats?.()) ?? {}))
app.get('/heap', (_req, res) => {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  res.json({ heapMb: process.memoryUsage().heapUsed / 2 ** 20 })
})
app.get('/usage', (_req, res) => {
  const { user, system } = process.cpuUsage()
  res.json({ cpuMs: (user + system) / 1000, runs, mostAtOnce })
  mostAtOnce = 0
})
// Without their stacks, which some peers would have Express write for every duplicate.
app.use((error, _req, res, _next) => {
  if (!res.headersSent) res.status(res.statusCode >= 400 ? res.statusCode : 500).end()
  else if (!res.writableEnded) res.destroy(error)
})
const endProfile = profile ? await startProfile(profile) : undefined
const server = app.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))

process.once('SIGTERM', async () => {
  await endProfile?.()
  server.close()
  await close?.()
  process.exit()
})
