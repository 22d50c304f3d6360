/** `session-lock bench`: how fast this very store is, from this very machine. */
import { randomBytes } from 'node:crypto'
import { createSessionLock, type SessionLock } from '../engine/lock.ts'
import { asJson, type Command, type OptionValues, wholeNumber } from './command.ts'
import { STORE_HELP, STORE_OPTIONS, storeUrl, tablePrefix } from './store.ts'
import { formatTable } from './table.ts'

const DEFAULT_SECONDS = 5
const DEFAULT_CONNECTIONS = 64
/** Hand-overs are measured so often. */
const HANDOVERS = 50
/** How long a holder keeps the session that others wait for. */
const HOLD_MS = 20
/** Its messages are remembered no longer, so that the next clean-up removes them. */
const RETENTION_MS = 1000

/** Milliseconds; `perSecond` is a count. */
interface Measured {
  readonly lone: Quantiles
  readonly loaded: Quantiles & { readonly connections: number; readonly perSecond: number }
  readonly handover: Quantiles
}

interface Quantiles {
  readonly p50: number
  readonly p99: number
}

/** The command. */
export const benchCommand: Command = {
  summary: 'measure how fast this store is',
  help: `Usage: session-lock bench [options]

Measures the store, from this machine: how long a message takes that comes alone (claim and
settlement, two commits), how many messages a second many at once get through and how long each
takes, and how long a session takes to change hands between two nodes that wait for it.

It uses the bot's own tables, with messages of its own (provider "bench") that are forgotten after
a second. A busy bot will notice it; so will the numbers.

Options:
${STORE_HELP}
  --seconds NUMBER      for each measurement. Default: ${DEFAULT_SECONDS}
  --connections NUMBER  so many at once. Default: ${DEFAULT_CONNECTIONS}
  --json                one object, times in milliseconds
  --help                this text

Examples:
  npx session-lock bench --store redis://localhost:6379
  npx session-lock bench --seconds 2 --connections 256 --json`,
  options: {
    ...STORE_OPTIONS,
    seconds: { type: 'string' },
    connections: { type: 'string' },
    json: { type: 'boolean' },
  },
  takesLong: true,
  async run(values) {
    const seconds = wholeNumber('seconds', values['seconds'], DEFAULT_SECONDS)
    const connections = wholeNumber('connections', values['connections'], DEFAULT_CONNECTIONS)
    const [one, other] = [openNode(values, 'bench-1'), openNode(values, 'bench-2')]
    try {
      const measured = await measure(one, other, seconds * 1000, connections)
      return values['json'] === true ? asJson(measured) : describe(measured)
    } finally {
      await Promise.all([one.close(), other.close()])
    }
  },
}

function openNode(values: OptionValues, nodeId: string): SessionLock {
  return createSessionLock({
    store: storeUrl(values),
    tablePrefix: tablePrefix(values),
    nodeId,
    migrate: 'off',
    cleanupEveryMs: 0,
    retentionMs: RETENTION_MS,
    lockWaitMs: 10_000,
    logger: false,
  })
}

async function measure(one: SessionLock, other: SessionLock, forMs: number, connections: number): Promise<Measured> {
  const run = randomBytes(6).toString('hex')
  // Until connections are open and code is compiled, nothing counts.
  await deliver(one, `${run}-warm`, Math.min(500, forMs), connections)
  const lone = await deliver(one, `${run}-lone`, forMs, 1)
  const loaded = await deliver(one, `${run}-many`, forMs, connections)
  const perSecond = Math.round((loaded.length * 1000) / forMs)
  const handover = await handOver(one, other, `${run}-handover`)
  await one.cleanup()
  return {
    lone: quantiles(lone),
    loaded: { connections, perSecond, ...quantiles(loaded) },
    handover: quantiles(handover),
  }
}

/** Messages of different sessions, each connection one after the other. Resolves to how long each took. */
async function deliver(lock: SessionLock, run: string, forMs: number, connections: number): Promise<number[]> {
  const times: number[] = []
  const until = performance.now() + forMs
  const connection = async (_: unknown, number: number) => {
    for (let next = 0; performance.now() < until; next += 1) {
      const startedAt = performance.now()
      const name = `${run}-${number}-${next}`
      await lock.claim(deliveryOf(name, name)).then((claimed) => {
        if (claimed.outcome !== 'acquired') throw new Error(`a new message was ${claimed.outcome}`)
        return claimed.hold.settle({ status: 'completed' })
      })
      times.push(performance.now() - startedAt)
    }
  }
  await Promise.all(Array.from({ length: connections }, connection))
  return times
}

/** Both nodes want the same session all the time. Resolves to the times from one's release to the other's start. */
async function handOver(one: SessionLock, other: SessionLock, session: string): Promise<number[]> {
  const times: number[] = []
  let released: { by: SessionLock; at: number } | undefined
  const node = async (lock: SessionLock, name: string) => {
    for (let turn = 0; times.length < HANDOVERS; turn += 1) {
      const claimed = await lock.claim(deliveryOf(session, `${session}-${name}-${turn}`))
      if (claimed.outcome !== 'acquired') continue
      if (released && released.by !== lock) times.push(performance.now() - released.at)
      await new Promise((resolve) => setTimeout(resolve, HOLD_MS))
      released = { by: lock, at: performance.now() }
      await claimed.hold.settle({ status: 'completed' })
    }
  }
  await Promise.all([node(one, 'a'), node(other, 'b')])
  return times
}

function deliveryOf(session: string, id: string) {
  return { provider: 'bench', messages: [{ id, prospect: session, device: 'session-lock-bench' }] }
}

function quantiles(times: readonly number[]): Quantiles {
  const sorted = times.toSorted((a, b) => a - b)
  const at = (share: number) => Math.round((sorted[Math.floor((sorted.length - 1) * share)] ?? 0) * 100) / 100
  return { p50: at(0.5), p99: at(0.99) }
}

function describe({ lone, loaded, handover }: Measured): string {
  const line = (name: string, { p50, p99 }: Quantiles, perSecond = '') => [name, String(p50), String(p99), perSecond]
  const columns = [
    { title: 'MEASURED' },
    { title: 'P50 MS', align: 'right' },
    { title: 'P99 MS', align: 'right' },
    { title: 'A SECOND', align: 'right' },
  ] as const
  return formatTable(columns, [
    line('a message alone', lone),
    line(`${loaded.connections} messages at once`, loaded, String(loaded.perSecond)),
    line('a session changes nodes', handover),
  ])
}
