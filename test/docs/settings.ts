/**
 * What stands around each block of the documentation: the names that it takes for granted, and what must be so after
 * it. Both see what `here.mjs` exports: `serve`, `deliver`, `equal`, `until`.
 */
export interface Setting {
  readonly before?: string
  readonly after?: string
}

const LOCK = `import { createSessionLock } from 'session-lock'
const lock = createSessionLock({ store: 'memory:', logger: false })`
const APP = `import express from 'express'
const app = express()`
const ANSWER = `const answered = []
const answer = async (body) => String(answered.push(body))`
/** Delivered twice; handled once. */
const ONCE = `const id = randomUUID()
const first = await deliver(url, id)
const second = await deliver(url, id)
equal([first.status, second.status, second.headers.get('session-lock')], [200, 200, 'duplicate'])
equal(answered.length, 1)`
const LOCK_OR_OPTIONS = `const lockOrOptions = { store: 'memory:', logger: false }`

/** By the block's name. */
export const SETTINGS: Readonly<Record<string, Setting>> = {
  'README.md › session-lock': {
    before: ANSWER,
    after: `const url = (await serve(app)) + '/webhook'
${ONCE}`,
  },
  'README.md › Use': {
    before: `import { createSessionLock, keepRawBody, sessionLock, whatsappHandshake, withSessionLock } from 'session-lock'
${APP}
process.env.VERIFY_TOKEN = 'token'`,
    after: `const query = '?hub.mode=subscribe&hub.verify_token=token&hub.challenge=7'
equal(await (await fetch((await serve(app)) + '/webhook' + query)).text(), '7')`,
  },
  'README.md › Use 2': {
    before: `${LOCK}
const [messageId, prospect, device] = [randomUUID(), 'anna', 'bot']
let reports = 0
const reply = async () => 'hello'
const report = async () => (reports += 1)`,
    after: `equal([result.status, result.value, reports], ['processed', 'hello', 1])
await lock.close()`,
  },
  'docs/providers.md › Providers': {
    before: `import { sessionLock } from 'session-lock'
import { fieldAt } from 'session-lock/providers'`,
  },
  'docs/providers.md › A provider of your own': {
    after: `const url = (await serve(app)) + '/acme'
const body = JSON.stringify({ source: 'acme', shop: 'berlin', event: { id: randomUUID(), from: 'Ada' } })
const signature = createHmac('sha256', 'shared with Acme').update(body).digest('hex')
const headers = { 'content-type': 'application/json', 'x-acme-signature': 'sha256=' + signature }
const send = (text) => fetch(url, { method: 'POST', headers, body: text })
const first = await send(body)
equal([first.status, await first.text()], [200, 'hello Ada'])
const second = await send(body)
equal([second.status, await second.text(), second.headers.get('session-lock')], [200, '', 'duplicate'])
equal((await send(body.replace('Ada', 'Eve'))).status, 401)`,
  },
  'docs/frameworks.md › Bot frameworks': {
    before: `import { Bot } from 'grammy'
const botInfo = { id: 1, is_bot: true, first_name: 'bot', username: 'bot' }
const bot = new Bot('1:token', { botInfo })`,
    after: `let handled = 0
bot.on('message', () => (handled += 1))
const chat = { id: 7, type: 'private', first_name: 'Anna' }
const message = { message_id: 1, date: 1, chat, from: { id: 7, is_bot: false, first_name: 'Anna' }, text: 'hello' }
const update = { update_id: Date.now(), message }
await bot.handleUpdate(update)
await bot.handleUpdate(update)
equal(handled, 1)`,
  },
  'docs/frameworks.md › Bot frameworks 2': {
    // Bolt would ask Slack whether the token is real.
    before: `import bolt from '@slack/bolt'
class App extends bolt.App {
  constructor(options) {
    super({ ...options, tokenVerificationEnabled: false })
  }
}
const [token, signingSecret] = ['xoxb-1', 'secret']`,
  },
  'docs/frameworks.md › Web frameworks': {
    before: `import Fastify from 'fastify'
${ANSWER}`,
    after: `const url = (await app.listen({ port: 0, host: '127.0.0.1' })) + '/webhook'
${ONCE}`,
  },
  'docs/frameworks.md › Web frameworks 2': {
    before: `import Koa from 'koa'
const app = new Koa()
${LOCK_OR_OPTIONS}
${ANSWER}`,
    after: `const url = await serve(app.callback())
${ONCE}`,
  },
  'docs/frameworks.md › Web frameworks 3': {
    before: `import { serve as serveHono } from '@hono/node-server'
import { Hono } from 'hono'
const app = new Hono()
${LOCK_OR_OPTIONS}
${ANSWER}`,
    after: `const server = serveHono({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
await until(() => server.listening)
const url = 'http://127.0.0.1:' + server.address().port + '/webhook'
${ONCE}`,
  },
  'docs/frameworks.md › Web frameworks 4': {
    before: `${LOCK}
${ANSWER}`,
    after: `const request = (id) => new Request('http://bot/webhook', { method: 'POST', ...deliveryOf(id) })
const id = randomUUID()
equal([(await POST(request(id))).status, (await POST(request(id))).headers.get('session-lock')], [200, 'duplicate'])
equal(answered.length, 1)`,
  },
  'docs/frameworks.md › Web frameworks 5': {
    before: `import { createServer as createHttpServer } from 'node:http'
${LOCK}
${ANSWER}
let server
const createServer = (listener) => ({ listen: () => (server = createHttpServer(listener).listen(0, '127.0.0.1')) })`,
    after: `await until(() => server.listening)
const url = 'http://127.0.0.1:' + server.address().port
${ONCE}`,
  },
  'docs/frameworks.md › Web frameworks 6': {
    before: `import 'reflect-metadata'
import { Controller, Module, Post } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
${LOCK_OR_OPTIONS}
${ANSWER}
class Webhook {
  hook() {
    return answer('hook')
  }
}
Post('webhook')(Webhook.prototype, 'hook', Object.getOwnPropertyDescriptor(Webhook.prototype, 'hook'))
Controller()(Webhook)
class AppModule {}
Module({ controllers: [Webhook] })(AppModule)`,
    after: `await app.listen(0, '127.0.0.1')
const url = (await app.getUrl()) + '/webhook'
const id = randomUUID()
equal((await deliver(url, id)).status, 201)
equal((await deliver(url, id)).headers.get('session-lock'), 'duplicate')
equal(answered.length, 1)`,
  },
  'docs/exactly-once.md › Exactly once': {
    before: `import { createSessionLock, sessionLock } from 'session-lock'
import pg from 'pg'
${APP}
const pool = new pg.Pool({ connectionString: process.env.POSTGRES_URL })
await pool.query('CREATE TABLE accounts (id integer PRIMARY KEY, balance integer)')
await pool.query('INSERT INTO accounts VALUES (1, 0)')
const accountOf = () => 1`,
    after: `const url = (await serve(app)) + '/webhook'
const id = randomUUID()
await deliver(url, id)
await deliver(url, id)
const { rows } = await pool.query('SELECT balance FROM accounts')
await pool.query('DROP TABLE accounts')
equal(rows, [{ balance: 1 }])`,
  },
  'docs/inbox.md › The inbox': {
    before: ANSWER,
    after: `const url = (await serve(app)) + '/webhook'
const id = randomUUID()
equal([(await deliver(url, id)).status, (await deliver(url, id)).status], [200, 200])
await until(() => answered.length > 0)
await inbox.stop()
equal(answered.length, 1)`,
  },
  'docs/rows.md › Rows of your own': {
    before: `${LOCK}
const rows = new Map([41, 42, 43].map((id) => [id, { id, body: 'note ' + id }]))
const written = []
const readNote = (id) => (written.includes(id) ? null : rows.get(id))
const summarise = async (body) => body.slice(0, 4)
const writeSummary = async (id) => void written.push(id)
const findNoteIds = (limit, after = 0) => [...rows.keys()].filter((id) => id > after).slice(0, limit)`,
    after: `equal(written.sort(), [41, 42, 43])`,
  },
  'docs/operations.md › Look inside': {
    before: `import { createSessionLock } from 'session-lock'
const lock = createSessionLock({ store: 'sqlite:./bot.db' })
const [prospect, device, keys, id] = ['anna', 'bot', [], 'no such message']
const alert = () => undefined`,
  },
  'docs/operations.md › The admin page': {
    before: `${LOCK}
${APP}
process.env.ADMIN_PASSWORD = 'open sesame'`,
    after: `const url = (await serve(app)) + '/locks/'
equal((await fetch(url)).status, 401)
const headers = { authorization: 'Basic ' + btoa('ops:open sesame') }
equal((await fetch(url, { headers })).status, 200)`,
  },
  'docs/operations.md › Metrics and traces': {
    before: `${LOCK}
${APP}`,
    after: `await lock.run({ session: 'anna' }, () => undefined)
const text = await (await fetch((await serve(app)) + '/metrics')).text()
equal(/^session_lock_claims_total\\{.*outcome="acquired".*\\} 1$/m.test(text), true)`,
  },
  'docs/stores.md › A store of your own': {
    before: `import { sqliteStore } from './node_modules/session-lock/dist/store/sqlite.js'
const openMyStore = (settings) => sqliteStore('sqlite:./mine.db', settings)`,
    // The tests that it registers run when the module is done; the exit code is theirs.
    after: 'keepRunning()',
  },
  'docs/migrating.md › From redlock': {
    before: `const redlock = { acquire: async () => ({ release: async () => undefined }) }
const [chatId, message] = [1, 'hello']
${ANSWER}`,
    after: 'equal(answered.length, 1)',
  },
  'docs/migrating.md › From redlock 2': {
    before: `import { createSessionLock } from 'session-lock'
const [chatId, message] = [randomUUID(), 'hello']
const retryIn = () => undefined
${ANSWER}`,
    after: `equal(answered.length, 1)
await lock.close()`,
  },
  'docs/migrating.md › From express-idempotency': {
    before: `${APP}
const idempotency = () => (_req, _res, next) => next()
const getSharedIdempotencyService = () => ({ isHit: () => false })
const charge = async () => ({ receipt: 1 })`,
    after: `equal(await (await fetch((await serve(app)) + '/charge', { method: 'POST' })).json(), { receipt: 1 })`,
  },
  'docs/migrating.md › From express-idempotency 2': {
    before: `${APP}
let charges = 0
const charge = async () => ({ receipt: (charges += 1) })`,
    after: `const url = (await serve(app)) + '/charge'
const headers = { 'idempotency-key': randomUUID(), 'content-type': 'application/json' }
const ask = async () => (await fetch(url, { method: 'POST', headers, body: '{}' })).json()
equal([await ask(), await ask(), charges], [{ receipt: 1 }, { receipt: 1 }, 1])`,
  },
}
