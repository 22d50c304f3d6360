/**
 * Claims and settles messages in memory, without HTTP, on locks that differ in what watches them, in turn. Prints a JSON
 * of the CPU time of each slice in µs a message, by name: `plain`, `same` (as plain), `metrics`, and, where each message
 * is handled within a span of the bot's own, sampled as often: `traced5` against `plain5` (5 % of them), `traced100`
 * against `plain100`. Started with the number of rounds.
 */
import { context, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  BasicTracerProvider,
  BatchSpanProcessor,
  ParentBasedSampler,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-base'
import { createSessionLock } from '../../dist/index.js'
import { instrument } from '../../dist/metrics/opentelemetry.js'
import { collectMetrics } from '../../dist/metrics/prometheus.js'

const AT_ONCE = 64
const BATCHES = 20
/** Until code is compiled. */
const WARM_ROUNDS = 20

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())
/** Spans are made and handed over, and go nowhere: what sending them costs is the exporter's. */
const exporter = { export: (_spans, done) => done({ code: 0 }), shutdown: async () => undefined }

function tracing(share) {
  const sampler = new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(share) })
  return new BasicTracerProvider({ sampler, spanProcessors: [new BatchSpanProcessor(exporter)] })
}

function variant(name, { tracerProvider, isWatched = false }) {
  const lock = createSessionLock({ store: 'memory:', retentionMs: 1000, logger: false })
  if (isWatched) collectMetrics(lock)
  if (isWatched && tracerProvider) instrument(lock, { tracerProvider })
  return { name, lock, tracer: tracerProvider?.getTracer('bot'), taken: [] }
}

const [few, all] = [tracing(0.05), tracing(1)]
const variants = [
  variant('plain', {}),
  variant('same', {}),
  variant('metrics', { isWatched: true }),
  variant('plain5', { tracerProvider: few }),
  variant('traced5', { tracerProvider: few, isWatched: true }),
  variant('plain100', { tracerProvider: all }),
  variant('traced100', { tracerProvider: all, isWatched: true }),
]

let counter = 0
async function message(lock) {
  counter += 1
  const id = `wamid.${counter}`
  const messages = [{ id, prospect: id, device: '100000000000001' }]
  const { hold } = await lock.claim({ provider: 'whatsapp-cloud', messages })
  await hold.within(async () => undefined)
  hold.end({ status: 'completed' })
}

function request({ lock, tracer }) {
  if (!tracer) return message(lock)
  return tracer.startActiveSpan('POST /webhook', (span) => message(lock).finally(() => span.end()))
}

async function slice(one) {
  const before = process.cpuUsage()
  for (let batch = 0; batch < BATCHES; batch += 1) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => request(one)))
    await new Promise((resolve) => setImmediate(resolve))
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / (BATCHES * AT_ONCE)
}

const rounds = Number(process.argv[2]) + WARM_ROUNDS
for (let round = 0; round < rounds; round += 1) {
  const start = round % variants.length
  for (const one of [...variants.slice(start), ...variants.slice(0, start)]) {
    const micros = await slice(one)
    if (round >= WARM_ROUNDS) one.taken.push(micros)
  }
}
console.log(JSON.stringify(Object.fromEntries(variants.map(({ name, taken }) => [name, taken]))))
trace.disable()
process.exit()
