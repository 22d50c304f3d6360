/**
 * One process with several bots on ports of their own, which differ in what watches them. Started with a JSON of
 * `{ options }`; prints `listening` and a JSON of the ports by name: `plain`, `metrics`, `sampled` (metrics, and traces
 * of 5 % of the requests), `traced` (of all).
 */
import { context } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import { BasicTracerProvider, BatchSpanProcessor, TraceIdRatioBasedSampler } from '@opentelemetry/sdk-trace-base'
import express from 'express'
import { createSessionLock, sessionLock } from '../../dist/index.js'
import { instrument } from '../../dist/metrics/opentelemetry.js'
import { collectMetrics } from '../../dist/metrics/prometheus.js'

const { options } = JSON.parse(process.argv[2])
context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable())

/** Spans are made and handed over, and go nowhere: what sending them costs is the exporter's. */
const exporter = { export: (_spans, done) => done({ code: 0 }), shutdown: async () => undefined }

function trace(lock, share) {
  const sampler = new TraceIdRatioBasedSampler(share)
  instrument(lock, {
    tracerProvider: new BasicTracerProvider({ sampler, spanProcessors: [new BatchSpanProcessor(exporter)] }),
  })
}

const WATCH = {
  plain: () => undefined,
  metrics: (lock) => collectMetrics(lock),
  sampled(lock) {
    collectMetrics(lock)
    trace(lock, 0.05)
  },
  traced(lock) {
    collectMetrics(lock)
    trace(lock, 1)
  },
}

async function start([name, watch]) {
  const lock = createSessionLock({ ...options, logger: false })
  watch(lock)
  const app = express()
  app.post('/webhook', express.json(), sessionLock(lock), (_request, response) => response.sendStatus(200))
  const server = await new Promise((resolve) => {
    const started = app.listen(0, '127.0.0.1', () => resolve(started))
  })
  return [name, server.address().port]
}

console.log(`listening ${JSON.stringify(Object.fromEntries(await Promise.all(Object.entries(WATCH).map(start))))}`)
