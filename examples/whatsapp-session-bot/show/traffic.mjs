/** The same traffic for the old way and for session-lock: a hundred prospects write at once, some of them twice. */
import { setTimeout as sleep } from 'node:timers/promises'
import { createEvent } from './event.mjs'
import { createGateway, newMessage, prospectOf, WEBHOOK_SECRET } from './gateway.mjs'
import { startBot } from './processes.mjs'
import { startStandIn } from './stand-in.mjs'

export const PROSPECTS = 100
export const MESSAGES = 125
const THINKING_MS = 200

/**
 * Delivers every message twice at the same instant, once to each of two bots. The model answers nobody before it was
 * asked for all prospects: so their handlers are at work side by side, or the show never ends.
 *
 * @param look - called when all prospects are in hand at once
 */
export async function sendTraffic({ program, databaseUrl, look }) {
  const everybodyIsHere = createEvent()
  const goOn = createEvent()
  const standIn = await startStandIn(async () => {
    if (standIn.sessionsInHand() === PROSPECTS) everybodyIsHere.happen()
    await goOn.happened
    await sleep(THINKING_MS)
  })
  const environment = { ...standIn.environment, DATABASE_URL: databaseUrl, WEBHOOK_SECRET }
  const bots = await Promise.all([startBot(program, environment), startBot(program, environment)])
  const gateway = createGateway()
  const messages = Array.from({ length: MESSAGES }, (_, number) =>
    newMessage(prospectOf(number % PROSPECTS), number < PROSPECTS ? 'Hello' : 'How much is it?'),
  )

  const delivered = Promise.all(
    messages.flatMap((message) =>
      bots.map((_, first) => gateway.deliver(message, (tries) => bots[(first + tries) % 2])),
    ),
  )
  await everybodyIsHere.happened
  const seen = await look?.()
  goOn.happen()
  await delivered
  await Promise.all(bots.map((bot) => bot.stop()))
  const blocked = bots.reduce((sum, bot) => sum + bot.count('already locked — BLOCKING DUPLICATE'), 0)
  standIn.stop()
  return { ...standIn.judge(messages), messages: MESSAGES, seen, blocked }
}
