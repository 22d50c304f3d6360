/**
 * The change from the old lock table to session-lock, with the steps of README.md, while messages come in all the time.
 * Every message is delivered twice at the same instant where there are bots of both kinds: to an old one and to a new one.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createEvent } from './event.mjs'
import { createGateway, newMessage, prospectOf, WEBHOOK_SECRET } from './gateway.mjs'
import { runAdopt, runSessionLock, startBot } from './processes.mjs'
import { startStandIn } from './stand-in.mjs'

const PROSPECTS = 30
const MESSAGE_EVERY_MS = 100
const THINKING_MS = 80
/** So many prospects are in the hands of old bots when the new ones come. */
const HELD = 5
const ENOUGH = 10
const OLD_LOCK_TABLE = 'whatsapp_bot_old_lock'
const REFUSED = 'refusing a message: an old bot has its session'

export async function changeOver({ databaseUrl, staleAfterMs, say }) {
  const held = Array.from({ length: HELD }, (_, number) => newMessage(prospectOf(1000 + number), 'A long question'))
  const victimMessage = newMessage(prospectOf(2000), 'A question to a bot that will be killed')
  const model = createModel({ held, victimMessage })
  const standIn = await startStandIn(model.think)
  const shared = { ...standIn.environment, DATABASE_URL: databaseUrl, WEBHOOK_SECRET }
  const environments = {
    old: { ...shared, OLD_LOCK_TABLE, STALE_AFTER_MS: staleAfterMs },
    bridged: { ...shared, OLD_LOCK_TABLE },
    new: shared,
  }
  const gateway = createGateway()
  const balancer = createBalancer()
  const traffic = startTraffic({ gateway, balancer })
  const world = { gateway, balancer, traffic, model, environments, say }

  const bots = await prepare(world)
  const seen = await workSideBySide(world, bots, { held, victimMessage })
  const counts = await finish(world, bots)
  const sent = [...(await traffic.stop()), ...held, victimMessage]
  await Promise.all(balancer.new.map((bot) => bot.stop()))
  standIn.stop()
  return { ...standIn.judge(sent), messages: sent.length, ...seen, ...counts }
}

/** Steps 1 and 2: the tables, the triggers; the new bots are started, and get nothing yet. */
async function prepare({ balancer, traffic, environments, say }) {
  const [victim, ...old] = await startBots('old-way.mjs', 3, environments.old)
  balancer.old.push(...old)
  await traffic.hasSent(ENOUGH)
  say('Bots of the old kind are at work.')
  const migration = ['migrate', '--table-prefix', 'whatsapp_bot_']
  await runSessionLock(migration, { SESSION_LOCK_URL: environments.old.DATABASE_URL }).done
  const preparation = runAdopt('prepare', environments.old)
  await preparation.line('The triggers are there')
  const bridged = await startBots('bot.mjs', 2, environments.bridged)
  await preparation.done
  say('The tables of session-lock are there, and the old lock excludes.')
  return { victim, old, bridged }
}

/** Step 3: old and new bots beside each other, until the old ones are stopped; one of them is killed. */
async function workSideBySide(world, { victim, old, bridged }, { held, victimMessage }) {
  const { gateway, balancer, model, environments, say } = world
  const toOld = held.map((message, number) => gateway.deliver(message, () => old[number % old.length]))
  const toVictim = gateway.deliver(victimMessage, (tries) => (tries === 0 ? victim : balancer.anyOf('new')))
  await model.allAreHeld
  const look = runAdopt('status', environments.old)
  const status = await look.line('In the hands of old bots')
  await look.done
  say(`New bots get messages too. ${status}`)
  balancer.new.push(...bridged)
  const copies = held.map((message) => gateway.deliver(message, () => balancer.anyOf('new')))
  const copyOfVictim = gateway.deliver(victimMessage, () => balancer.anyOf('new'))
  await victim.kill()
  await Promise.race(bridged.map((bot) => bot.line(REFUSED)))
  model.goOn()
  await Promise.all([...toOld, ...copies])
  balancer.old.length = 0
  await Promise.all(old.map((bot) => bot.stop()))
  say('The old bots have finished what they had in hand, and ended. One had been killed in the middle of an answer.')
  await Promise.all([toVictim, copyOfVictim])
  say('What that one had in hand was taken over when it was stale.')
  return { inOldHands: Number(/old bots: (\d+)/.exec(status)[1]) }
}

/** Step 4: the bridge goes, one bot after the other, and then the old table. */
async function finish({ balancer, traffic, environments, say }, { bridged }) {
  balancer.new.push(...(await startBots('bot.mjs', bridged.length, environments.new)))
  for (const bot of bridged) {
    balancer.new.shift()
    await bot.stop()
  }
  await runAdopt('finish', environments.old).done
  await traffic.hasSent(traffic.sent.length + ENOUGH)
  say('The new bots run without the bridge, and the old table is gone.')
  const count = (text) => bridged.reduce((sum, bot) => sum + bot.count(text), 0)
  return { refused: count(REFUSED), recognised: count('it was answered before the session was taken over') }
}

function startBots(program, count, environment) {
  return Promise.all(Array.from({ length: count }, () => startBot(program, environment)))
}

/** Answers at once, but for what old bots are to have in hand; and the one that is killed it never answers. */
function createModel({ held, victimMessage }) {
  const waiting = new Set([...held, victimMessage].map(({ id }) => id))
  const allAreHeld = createEvent()
  const goOn = createEvent()
  let isVictimAsked = false
  return {
    async think({ id }) {
      await sleep(THINKING_MS)
      waiting.delete(id)
      if (waiting.size === 0) allAreHeld.happen()
      if (held.some((message) => message.id === id)) await goOn.happened
      if (id !== victimMessage.id || isVictimAsked) return
      isVictimAsked = true
      await new Promise(() => {})
    },
    allAreHeld: allAreHeld.happened,
    goOn: goOn.happen,
  }
}

/** Chooses among bots of a kind in turn. */
function createBalancer() {
  let turn = 0
  const next = (bots) => bots[turn++ % bots.length]
  const balancer = {
    old: [],
    new: [],
    anyOf: (kind) => next(balancer[kind]),
    /** Any bot at all. */
    any: () => next([...balancer.old, ...balancer.new]),
    has: (kind) => balancer[kind].length > 0,
  }
  return balancer
}

/** Prospects who write all the time, from when there is a bot until it is stopped. */
function startTraffic({ gateway, balancer }) {
  const sent = []
  const deliveries = []
  const waiting = []
  let isOver = false

  function send() {
    const message = newMessage(prospectOf(sent.length % PROSPECTS), 'And what about this?')
    sent.push(message)
    for (const delivery of deliver(message)) deliveries.push(delivery)
    for (const { count, event } of waiting) if (sent.length >= count) event.happen()
  }

  /**
   * One copy to an old bot, where there is one, the other to a new one. Old bots remember nothing: the second copy
   * never goes to one, since two of them would answer it twice, as ever.
   */
  function deliver(message) {
    const first = gateway.deliver(message, (tries) =>
      tries === 0 && balancer.has('old') ? balancer.anyOf('old') : balancer.any(),
    )
    return balancer.has('new') ? [first, gateway.deliver(message, () => balancer.anyOf('new'))] : [first]
  }

  const running = (async () => {
    while (!isOver) {
      if (balancer.has('old') || balancer.has('new')) send()
      await sleep(MESSAGE_EVERY_MS)
    }
  })()

  return {
    sent,
    hasSent(count) {
      const event = createEvent()
      waiting.push({ count, event })
      return event.happened
    },
    /** Resolves to all that was sent, when all of it is delivered. */
    async stop() {
      isOver = true
      await running
      await Promise.all(deliveries)
      return sent
    },
  }
}
