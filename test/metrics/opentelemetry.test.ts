/** What a tracer sees. */
import { context, ROOT_CONTEXT, SpanStatusCode, TraceFlags, trace } from '@opentelemetry/api'
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import express from 'express'
import request from 'supertest'
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { createInbox } from '../../src/inbox/index.ts'
import { createSessionLock, type SessionLock, sessionLock, TransactionEndedError } from '../../src/index.ts'
import { instrument } from '../../src/metrics/opentelemetry.ts'
import { memoryStore } from '../../src/store/memory.ts'
import { sharedStores } from '../stores/shared-stores.ts'
import { createWorld, databases } from '../transaction/world.ts'

beforeAll(() => void context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable()))
afterAll(() => context.disable())

function tracing() {
  const spans = new InMemorySpanExporter()
  const tracerProvider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] })
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter })
  const meterProvider = new MeterProvider({ readers: [reader] })
  /** What has been measured, by its name. */
  const measured = async () => {
    await reader.forceFlush()
    const [latest] = exporter.getMetrics().slice(-1)
    const all = latest?.scopeMetrics.flatMap(({ metrics }) => metrics) ?? []
    return new Map(all.map((metric) => [metric.descriptor.name, metric]))
  }
  const counted = async () => new Set((await measured()).keys())
  onTestFinished(async () => void (await Promise.all([tracerProvider.shutdown(), meterProvider.shutdown()])))
  return { tracerProvider, meterProvider, spans, measured, counted }
}

/** As WhatsApp's Cloud API sends it. */
function deliveryOf(id: string) {
  const value = {
    messaging_product: 'whatsapp',
    metadata: { phone_number_id: '1000' },
    messages: [{ from: 'ada', id }],
  }
  return { object: 'whatsapp_business_account', entry: [{ id: '2000', changes: [{ field: 'messages', value }] }] }
}

test('a claim and its handler are a span, and what the handler does is below it', async () => {
  const { tracerProvider, meterProvider, spans, counted } = tracing()
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  onTestFinished(() => lock.close())
  const stop = instrument(lock, { tracerProvider, meterProvider })
  const tracer = tracerProvider.getTracer('bot')
  const app = express()
  app.post('/webhook', express.json(), sessionLock(lock), (_request, response) => {
    tracer.startSpan('answer').end()
    response.sendStatus(200)
  })
  const post = (id: string) => request(app).post('/webhook').send(deliveryOf(id)).expect(200)
  await post('m1')
  await post('m1')
  const ended = spans.getFinishedSpans()
  const names = ended.map(({ name, attributes }) => [name, attributes['session_lock.outcome']])
  expect(names).toEqual([
    ['answer', undefined],
    ['session-lock', 'acquired'],
    ['session-lock', 'duplicate'],
  ])
  const [answer, handled] = ended
  expect(answer?.parentSpanContext?.spanId).toBe(handled?.spanContext().spanId)
  expect(handled?.attributes).toMatchObject({
    'session_lock.takeover': false,
    'session_lock.messages': 1,
    'session_lock.waited_ms': expect.any(Number),
  })
  expect(JSON.stringify(ended.map(({ attributes }) => attributes))).not.toContain('ada')
  const metrics = await counted()
  const ours = ['claims', 'handled', 'wait', 'hold', 'store_call', 'store_batch', 'leases_held', 'claims_waiting']
  for (const name of ours) {
    expect(metrics).toContain(`session_lock.${name}`)
  }
  stop()
  await post('m2')
  expect(spans.getFinishedSpans().filter(({ name }) => name === 'session-lock')).toHaveLength(2)
})

test('a handler that throws, and a claim without a store, are errors of their spans', async () => {
  const { tracerProvider, meterProvider, spans } = tracing()
  let isDown = false
  const inner = memoryStore()
  const store = {
    ...inner,
    claim: (...args: Parameters<typeof inner.claim>) =>
      isDown ? Promise.reject(new Error('the store is down')) : inner.claim(...args),
  }
  const lock = createSessionLock({ store, logger: false })
  onTestFinished(() => lock.close())
  instrument(lock, { tracerProvider, meterProvider })
  await lock.run({ messageId: 'm1' }, () => Promise.reject(new Error('no credit'))).catch(() => undefined)
  isDown = true
  await lock.run({ messageId: 'm2' }, () => 1).catch(() => undefined)
  const ended = spans.getFinishedSpans().map(({ name, status }) => [name, status.message])
  expect(ended).toEqual([
    ['session-lock', 'no credit'],
    ['session-lock', 'the store is down'],
  ])
})

test('whoever traced a lock before does not end the traces of who does now', async () => {
  const [first, second] = [tracing(), tracing()]
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  onTestFinished(() => lock.close())
  const stopFirst = instrument(lock, first)
  const stopSecond = instrument(lock, second)
  stopFirst()
  await lock.run({ messageId: 'm1' }, () => 1)
  stopSecond()
  await lock.run({ messageId: 'm2' }, () => 1)
  expect([first, second].map(({ spans }) => spans.getFinishedSpans().length)).toEqual([0, 1])
})

test('a handler of the inbox is a span too', async () => {
  const { tracerProvider, meterProvider, spans } = tracing()
  const store = sharedStores.find(({ name }) => name === 'sqlite')?.url()
  const lock = createSessionLock({ store, tablePrefix: 'traced_', logger: false })
  instrument(lock, { tracerProvider, meterProvider })
  const seen: Array<string | undefined> = []
  const inbox = createInbox({ lock, handler: () => void seen.push(trace.getActiveSpan()?.spanContext().spanId) })
  onTestFinished(async () => {
    await inbox.stop()
    await lock.close()
  })
  await inbox.start()
  await inbox.accept({ provider: 'test', messages: [{ id: 'm', prospect: 'p' }] }, {})
  await expect.poll(() => spans.getFinishedSpans().length).toBe(1)
  const [span] = spans.getFinishedSpans()
  expect([span?.name, span?.spanContext().spanId]).toEqual(['session-lock', seen[0]])
})

test.each(databases)('a transaction of $name that is rolled back is an error of its span', async (database) => {
  const { tracerProvider, meterProvider, spans } = tracing()
  const world = await createWorld(database)
  const lock = world.lock()
  instrument(lock as SessionLock, { tracerProvider, meterProvider })
  const running = lock.run({ messageId: 'm', prospect: 'p' }, (lease) => lease.tx.query('COMMIT'))
  await expect(running).rejects.toThrow(TransactionEndedError)
  expect(spans.getFinishedSpans().map(({ status }) => [status.code, status.message])).toEqual([
    [SpanStatusCode.ERROR, expect.stringContaining('COMMIT, ROLLBACK or BEGIN')],
  ])
})

test('below the span of another process there is one where that is sampled, and else none', async () => {
  const { tracerProvider, meterProvider, spans } = tracing()
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  onTestFinished(() => lock.close())
  instrument(lock, { tracerProvider, meterProvider })
  const ids = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331', isRemote: true }
  for (const traceFlags of [TraceFlags.NONE, TraceFlags.SAMPLED]) {
    const sender = trace.setSpanContext(ROOT_CONTEXT, { ...ids, traceFlags })
    await context.with(sender, () => lock.run({ messageId: `m${traceFlags}` }, () => 1))
  }
  const ended = spans.getFinishedSpans()
  expect(ended.map(({ parentSpanContext }) => parentSpanContext)).toMatchObject([ids])
})

test('what is measured in seconds is counted between bounds that fit, and what is in hand is read when it is asked for', async () => {
  const { tracerProvider, meterProvider, measured } = tracing()
  const lock = createSessionLock({ store: memoryStore(), logger: false })
  onTestFinished(() => lock.close())
  const stop = instrument(lock, { tracerProvider, meterProvider })
  const inHand = (messageId: string) =>
    lock.run({ messageId }, async () => (await measured()).get('session_lock.leases_held')?.dataPoints[0]?.value)
  expect(await inHand('m1')).toMatchObject({ value: 1 })
  const waited = (await measured()).get('session_lock.wait')?.dataPoints[0]?.value
  expect(waited).toMatchObject({ buckets: { boundaries: expect.arrayContaining([0.001, 0.5, 30]) } })
  stop()
  expect(await inHand('m2')).toMatchObject({ value: 0 })
})
