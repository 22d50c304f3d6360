/**
 * A bot in a process of its own, written as its framework's users write it, that takes webhooks on loopback.
 * Its handler notes each start and end in a file that all bots of a test share, and stays in a message whose text
 * is `hold` until standard input says `open`; in one whose text is `throw` it throws.
 */
import { appendFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createSessionLock } from 'session-lock'

const settings = JSON.parse(process.env.BOT)
const lock = createSessionLock({ logger: false, ...settings.lock })
const botInfo = { id: 4711, is_bot: true, first_name: 'Bot', username: 'test_bot' }
const opened = new Promise((resolve) => process.stdin.once('data', resolve))

async function handle(id, text) {
  const note = (what) => appendFileSync(settings.notes, `${JSON.stringify({ what, id, pid: process.pid })}\n`)
  note('start')
  if (text === 'hold') await opened
  note('end')
  if (text === 'throw') throw new Error('the handler threw')
}

const bots = {
  async grammy() {
    const { Bot, webhookCallback } = await import('grammy')
    const { sessionLock } = await import('session-lock/grammy')
    const bot = new Bot('4711:token', { botInfo })
    bot.use(sessionLock(lock))
    bot.on('message:text', (ctx) => handle(ctx.update.update_id, ctx.message.text))
    const handleUpdate = webhookCallback(bot, 'http', { timeoutMilliseconds: 60_000 })
    return createServer((request, response) => {
      handleUpdate(request, response).catch(() => response.writeHead(503).end())
    })
  },
  async telegraf() {
    const { Telegraf } = (await import('telegraf')).default
    const { sessionLock } = await import('session-lock/telegraf')
    const bot = new Telegraf('4711:token')
    bot.botInfo = botInfo
    bot.use(sessionLock(lock))
    bot.on('text', (ctx) => handle(ctx.update.update_id, ctx.message.text))
    bot.catch(() => undefined)
    return createServer(bot.webhookCallback('/'))
  },
  async bolt() {
    const { App, HTTPReceiver } = (await import(settings.module)).default
    const { sessionLock } = await import('session-lock/bolt')
    const { processBeforeResponse } = settings
    const receiver = new HTTPReceiver({ signingSecret: 'secret', endpoints: '/', processBeforeResponse })
    // Both would ask Slack who the bot is.
    const authorize = async () => ({ botToken: 'xoxb-token', botId: 'B1', botUserId: 'UBOT' })
    const app = new App({ receiver, authorize, logLevel: 'error' })
    app.use(sessionLock(lock, { processBeforeResponse }))
    app.message(({ body, message }) => handle(body.event_id, message.text))
    app.command('/order', async ({ ack, command }) => {
      await handle(command.trigger_id, command.text)
      await ack('ordered')
    })
    return createServer(receiver.requestListener)
  },
}

const server = await bots[settings.framework]()
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))
