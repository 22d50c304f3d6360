/** A bot is killed in the middle of an answer: another one takes its session over, once its lease is stale. */
import { createEvent } from './event.mjs'
import { createGateway, newMessage, prospectOf, WEBHOOK_SECRET } from './gateway.mjs'
import { startBot } from './processes.mjs'
import { startStandIn } from './stand-in.mjs'

export async function killInTheMiddle({ databaseUrl, staleAfterMs }) {
  const isAsked = createEvent()
  let isFirst = true
  const standIn = await startStandIn(async () => {
    if (!isFirst) return
    isFirst = false
    isAsked.happen()
    // The first bot is killed while it waits for this.
    await new Promise(() => {})
  })
  const environment = {
    ...standIn.environment,
    DATABASE_URL: databaseUrl,
    WEBHOOK_SECRET,
    STALE_AFTER_MS: staleAfterMs,
  }
  const [victim, other] = await Promise.all([startBot('bot.mjs', environment), startBot('bot.mjs', environment)])
  const gateway = createGateway()
  const message = newMessage(prospectOf(0), 'Are you still there?')

  const first = gateway.deliver(message, (tries) => (tries === 0 ? victim : other))
  await isAsked.happened
  const copy = gateway.deliver(message, () => other)
  await victim.kill()
  await Promise.all([first, copy])
  const takeovers = other.count('acquired by taking over STALE lock')
  await other.stop()
  standIn.stop()
  return { ...standIn.judge([message]), refusedAfterMs: gateway.timesOf(409), takeovers }
}
