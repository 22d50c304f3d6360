/**
 * Stands in for the other half of Gowa: it delivers messages, and delivers again what was not answered 2xx. Gowa itself
 * waits for 1, 2, 4 and 8 seconds between its five tries; this one is quicker, and does not give up.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'

export const WEBHOOK_SECRET = 'the secret of the show'
const DEVICE = '628987654321@s.whatsapp.net'
const AGAIN_AFTER_MS = 250

export function newMessage(prospect, text) {
  return { id: randomBytes(10).toString('hex').toUpperCase(), prospect, device: DEVICE, text }
}

/** The prospect of this number. */
export function prospectOf(number) {
  return `${6281_000_000_000 + number}@s.whatsapp.net`
}

export function createGateway() {
  const answers = []

  /** One POST; resolves to its status, or 0 where no answer came, because the bot was killed or is not there. */
  async function post(message, bot) {
    const body = bodyOf(message)
    const signature = `sha256=${createHmac('sha256', WEBHOOK_SECRET).update(body).digest('hex')}`
    const headers = { 'Content-Type': 'application/json', 'X-Hub-Signature-256': signature }
    const startedAt = performance.now()
    const status = await fetch(bot.webhook, { method: 'POST', headers, body }).then(
      async (response) => {
        await response.arrayBuffer()
        return response.status
      },
      () => 0,
    )
    answers.push({ status, tookMs: Math.round(performance.now() - startedAt) })
    return status
  }

  return {
    /** Delivers until the answer is 2xx, each time to the bot that `chooseBot(tries)` gives. */
    async deliver(message, chooseBot) {
      for (let tries = 0; ; tries += 1) {
        const status = await post(message, chooseBot(tries))
        if (status >= 200 && status < 300) return
        await sleep(AGAIN_AFTER_MS)
      }
    },
    /** How long each answer of this status took. */
    timesOf: (status) => answers.filter((answer) => answer.status === status).map(({ tookMs }) => tookMs),
  }
}

function bodyOf({ id, prospect, device, text }) {
  const timestamp = new Date().toISOString()
  const payload = { id, chat_id: prospect, from: prospect, from_name: 'A prospect', timestamp, is_from_me: false }
  return JSON.stringify({ event: 'message', device_id: device, payload: { ...payload, body: text } })
}
