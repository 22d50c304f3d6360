/** One episode: some processes, one store, a few conversations, and what the plan does to them. */
import { seededRandom } from '../../dist/testing/waiting.js'
import { inboxBot, leaseBot } from './bots.mjs'
import { createClock } from './clock.mjs'
import { createJudge, Violation } from './judge.mjs'
import { createProcess } from './process.mjs'
import { createDatabase } from './transactions.mjs'
import { createWeather, KINDS } from './weather.mjs'
import { createWire } from './wire.mjs'

const STALE_AFTER_MS = 3000
const TIMEOUT_MS = 400
const MAX_HOLD_MS = 12_000
const RETENTION_MS = 3_600_000
const STARTED_AT = 1_700_000_000_000
/** When the faults are over, all that was sent is handled within this time. */
const PATIENCE_MS = 180_000
const RESTART_MS = 200

/**
 * Plays a plan with an engine: what `loadEngine` gives. Resolves to what was counted, and to the
 * violation, where there was one. `tell` hears the story.
 */
export async function playEpisode(engine, plan, tell = () => {}) {
  const clock = createClock()
  const random = seededRandom(plan.seed ^ 0x5bd1e995)
  const kind = KINDS[plan.kind]
  const isGentle = kind.isGentle === true
  const weather = createWeather({ clock, random, timeoutMs: TIMEOUT_MS }, kind, plan.tells)
  const storeNow = () => STARTED_AT + clock.now() + weather.jumpedMs()
  const store = await openStore(engine, plan, storeNow)
  const judge = createJudge({ now: clock.now, storeNow, isGentle, retentionMs: RETENTION_MS })
  const database =
    kind.hasTransactions && createDatabase({ clock, random, store, judge, attempt, StoreError: engine.StoreError })
  const nodes = Array.from({ length: plan.nodes }, () => undefined)
  const sent = plan.acts.flatMap(({ messages = [] }) => messages.map(({ id }) => id))
  let violation
  let born = 0
  let deliveries = 0
  let open = 0
  let isClosed = false

  const say = (text) => tell(`${clock.now().toFixed(1).padStart(9)}  ${text}`)
  function blame(error) {
    if (error instanceof Violation) violation ??= error
    else throw error
  }

  function start(place) {
    born += 1
    const process = createProcess({ clock, random }, `n${born}`)
    const lock = engine.createLock(
      {
        store: createWire(
          { clock, random, store, judge: watched, weather, StoreError: engine.StoreError, database },
          process,
          TIMEOUT_MS,
        ),
        nodeId: process.name,
        strategy: database ? 'transaction' : 'lease',
        staleAfterMs: STALE_AFTER_MS,
        storeTimeoutMs: TIMEOUT_MS,
        maxHoldMs: MAX_HOLD_MS,
        closeTimeoutMs: 500,
        retentionMs: RETENTION_MS,
        cleanupEveryMs: 5000,
        logger: false,
      },
      process.port,
    )
    lock.on('lease_lost', (event) => attempt(() => judge.lostLease(event)))
    const bot = store.queue ? inboxBot(world, process, lock, engine.createInbox) : leaseBot(world, process, lock)
    nodes[place] = { process, lock, bot, work: new Set() }
    say(`${process.name} starts`)
  }

  function attempt(work) {
    try {
      return work()
    } catch (error) {
      return blame(error)
    }
  }

  const world = { judge, random, plan, say, blame, now: clock.now, longMs: STALE_AFTER_MS }
  const watched = {
    executed(process, name, args, verdict) {
      return attempt(() => {
        const heard = judge.executed(process, name, args, verdict)
        if (name !== 'look') say(`${process.name} ${name} ${JSON.stringify(shortly(name, args[0], verdict))}`)
        return heard
      })
    },
  }

  /** A process is gone: whoever waits for its answer sees the connection break. */
  function stop(place, how) {
    const node = nodes[place]
    if (!node) return
    nodes[place] = undefined
    node.process.kill()
    if (database) database.killed(node.process)
    weather.listeners.delete(node.process)
    say(`${node.process.name} ${how}`)
    for (const breaks of node.work) breaks()
    clock.at(clock.now() + RESTART_MS, () => {
      if (!isClosed) start(place)
    })
  }

  async function close(place) {
    const node = nodes[place]
    if (!node || node.isClosing) return
    node.isClosing = true
    say(`${node.process.name} closes`)
    await node.bot.stop()
    await node.lock.close()
    if (nodes[place] === node) stop(place, 'has closed')
  }

  /** A provider sends until it is told that all is well. */
  function send(messages) {
    open += 1
    const ids = messages.map(({ id }) => id)
    const again = () => clock.at(clock.now() + 20 + random() * 800, next)
    function next() {
      if (violation) return
      const up = nodes.filter((node) => node)
      const node = up[Math.floor(random() * up.length)]
      if (!node) again()
      else {
        deliveries += 1
        let isBroken = false
        const breaks = () => {
          isBroken = true
          judge.askedNoMore(ids)
          again()
        }
        judge.asked(ids)
        node.work.add(breaks)
        node.process.receive(() => {
          node.bot.deliver(messages).then((isDone) => {
            if (isBroken) return
            node.work.delete(breaks)
            judge.askedNoMore(ids)
            if (isDone) open -= 1
            else again()
          }, blame)
        })
      }
    }
    next()
  }

  const ACTS = {
    deliver({ messages, copies }) {
      for (let copy = 0; copy < copies; copy += 1) clock.at(clock.now() + copy * random() * 500, () => send(messages))
    },
    kill: ({ node }) => stop(node % plan.nodes, 'is killed'),
    close: ({ node }) => void close(node % plan.nodes),
    pause({ node, share }) {
      const chosen = nodes[node % plan.nodes]
      chosen?.process.pause(share * 2 * STALE_AFTER_MS)
      if (chosen) say(`${chosen.process.name} is paused`)
    },
    cut: () => database.cutOne(),
    outage: ({ share }) => weather.outage(share * 2 * STALE_AFTER_MS),
    slow: ({ share }) => weather.slow(share * STALE_AFTER_MS),
    jump({ share }) {
      weather.jump(share * 2 * STALE_AFTER_MS)
      judge.jumped()
    },
    release({ session }) {
      const key = `s:3:bot${`p${session}`.length}:p${session}`
      judge.executed(undefined, 'release', [[key]])
      void store.release([key])
    },
  }

  for (let place = 0; place < plan.nodes; place += 1) start(place)
  let left = plan.acts.length
  for (const act of plan.acts) {
    clock.at(act.at, () => {
      left -= 1
      attempt(() => ACTS[act.act](act))
    })
  }
  const lastAt = (plan.acts.at(-1)?.at ?? 0) + 2500
  clock.at(lastAt, () => weather.clear())
  await clock.run(
    () =>
      violation ||
      (left === 0 && open === 0 && clock.now() > lastAt && judge.isAllHandled(sent)) ||
      clock.now() > lastAt + PATIENCE_MS,
  )
  if (!violation) await end()
  await store.close()
  return { deliveries, violation, calls: judge.calls() }

  async function end() {
    isClosed = true
    const closing = Promise.all(nodes.map((node) => node?.bot.stop().then(() => node.lock.close())))
    let isOver = false
    void closing.then(() => (isOver = true))
    await clock.run(() => isOver || violation)
    const rows = await store.sessions({ limit: 1000 })
    if (!violation) attempt(() => judge.closed(sent, rows))
    if (!violation && database) attempt(() => judge.expectCommitted(sent))
  }
}

/** The inbox needs a queue, which only a database has: SQLite goes by the clock of its process. */
async function openStore(engine, plan, storeNow) {
  if (!KINDS[plan.kind].hasInbox) return engine.memoryStore({ now: storeNow })
  Date.now = () => Math.floor(storeNow())
  const store = await engine.sqliteStore('sqlite::memory:', { tablePrefix: 'simulated_', timeoutMs: TIMEOUT_MS })
  await store.migrate()
  return store
}

/** For people. */
function shortly(name, items, verdicts) {
  if (name === 'claim')
    return items.map(({ owner, parts }, place) => [
      owner,
      ...parts.map((part, index) => `${part.rows[0].key} ${verdicts[place][index].outcome}`),
    ])
  if (name === 'settle') return items.map(({ owner, outcome }, place) => [owner, outcome, verdicts[place]])
  if (name === 'take') return verdicts.map(({ claim, messages }) => [claim.owner, ...messages.map(({ id }) => id)])
  if (name === 'renew') return items.map(({ owner }, place) => [owner, ...verdicts[place]])
  return []
}
