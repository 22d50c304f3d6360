/** Ways to break a store that take more than a line. */
import { memoryStore } from '../../src/store/memory.ts'
import type { Claim, ClaimVerdict, PartVerdict, Settlement, SettlementVerdict, Store } from '../../src/store/store.ts'
import type { StoreTransaction, Transactions } from '../../src/store/transactions.ts'

export async function claimEach(
  store: Store,
  claims: readonly Claim[],
  change: (claim: Claim, verdict: ClaimVerdict) => Promise<ClaimVerdict>,
): Promise<ClaimVerdict[]> {
  const verdicts = await store.claim(claims)
  const changed: ClaimVerdict[] = []
  for (const [index, verdict] of verdicts.entries()) changed.push(await change(claims[index] as Claim, verdict))
  return changed
}

export async function withTokensFound<Item extends { readonly rows: Settlement['rows'] }>(
  store: Store,
  items: readonly Item[],
): Promise<Item[]> {
  const found = await store.sessions({ limit: 10_000 })
  const tokens = new Map(found.map(({ key, fencingToken }) => [key, fencingToken]))
  return items.map((item) => ({
    ...item,
    rows: item.rows.map(({ key, fencingToken }) => ({ key, fencingToken: tokens.get(key) ?? fencingToken })),
  }))
}

export async function settleRowByRow(store: Store, items: readonly Settlement[]) {
  const verdicts = await store.settle(items)
  for (const [index, item] of items.entries()) {
    if (verdicts[index] === 'settled') continue
    for (const row of item.rows) await store.settle([{ ...item, rows: [row], outcome: 'released' }])
  }
  return verdicts
}

export async function settleTellingOfFirst(store: Store, items: readonly Settlement[]): Promise<SettlementVerdict[]> {
  const contended = new Set(
    (await store.sessions({ limit: 10_000 })).flatMap((row) => (row.contended ? [row.key] : [])),
  )
  const verdicts = await store.settle(items)
  return verdicts.map((verdict, index) =>
    verdict === 'contended' && !contended.has(items[index]?.rows[0]?.key ?? '') ? 'settled' : verdict,
  )
}

/** Shows each token as its distance to the largest integer. */
export function withShrinkingTokens(store: Store): Store {
  const flip = (token: number) => Number.MAX_SAFE_INTEGER - token
  const flipPart = (part: PartVerdict) =>
    part.outcome === 'acquired' ? { ...part, fencingToken: flip(part.fencingToken) } : part
  const flipRows = (rows: Settlement['rows']) => rows.map((row) => ({ ...row, fencingToken: flip(row.fencingToken) }))
  return {
    ...store,
    claim: async (claims) => (await store.claim(claims)).map((verdict) => verdict.map(flipPart)),
    settle: (items) => store.settle(items.map((item) => ({ ...item, rows: flipRows(item.rows) }))),
  }
}

/** Counts the tokens from their beginning again, once a clean-up has removed a row. */
export function withTokensForgotten(store: Store): Store {
  let less = 0
  return {
    ...store,
    claim: async (claims) =>
      (await store.claim(claims)).map((verdict) =>
        verdict.map((part) =>
          part.outcome === 'acquired' ? { ...part, fencingToken: part.fencingToken - less } : part,
        ),
      ),
    async cleanup(options) {
      const report = await store.cleanup(options)
      if (report.sessions > 0) less += 10 ** 9
      return report
    },
  }
}

export async function claimStaleRowsTwice(store: Store, claims: readonly Claim[]): Promise<ClaimVerdict[]> {
  const stale = new Set((await store.sessions({ stale: true, limit: 10_000 })).map(({ key }) => key))
  return claimEach(store, claims, async (claim, verdict) => {
    const refused = claim.parts.filter((_, index) => ['held', 'free'].includes(verdict[index]?.outcome ?? ''))
    const rows = refused.flatMap((part) => part.rows).filter(({ key }) => stale.has(key))
    for (const row of rows) await store.claim([{ ...claim, parts: [{ rows: [row], messages: [] }] }])
    return verdict
  })
}

/** Says that it is shared, and has a new memory store from one opening to the next. */
export function forgetting(first: Store): Store {
  let store = first
  const changed: Partial<Store> = {
    singleProcess: false,
    async close() {
      store = memoryStore()
    },
  }
  return new Proxy(first, { get: (_, name) => Reflect.get(name in changed ? changed : store, name) })
}

export function withKeys(store: Store, change: (key: string) => string): Store {
  const keyed = <Item extends { readonly key: string }>(items: readonly Item[]): Item[] =>
    items.map((item) => ({ ...item, key: change(item.key) }))
  const parts = (claim: Claim) =>
    claim.parts.map(({ rows, messages }) => ({ rows: keyed(rows), messages: keyed(messages) }))
  return {
    ...store,
    claim: (claims) => store.claim(claims.map((claim) => ({ ...claim, parts: parts(claim) }))),
    settle: (items) =>
      store.settle(items.map((item) => ({ ...item, rows: keyed(item.rows), messages: keyed(item.messages) }))),
  }
}

/** Waits a moment between the look at the messages and the taking of the rows. */
export function withEarlyLook(store: Store): Store {
  return {
    ...store,
    async claim(claims) {
      const done = await store.look(claims.flatMap(({ parts }) => parts.flatMap(({ messages }) => messages)))
      await new Promise((resolve) => setImmediate(resolve))
      const blind = (claim: Claim) => ({ ...claim, parts: claim.parts.map((part) => ({ ...part, messages: [] })) })
      return done.length > 0 ? store.claim(claims) : store.claim(claims.map(blind))
    },
  }
}

/** Transactions that anybody has at once, and that settle nothing. */
export function withoutLocks(): Transactions {
  const transaction: StoreTransaction = {
    tx: { query: async () => [] },
    lost: new Promise(() => undefined),
    ended: Promise.resolve(),
    settle: async (settlements) => settlements.map(() => 'settled'),
    rollback: async () => undefined,
    cut: () => undefined,
  }
  return { check: async () => undefined, begin: async () => ({ transaction, held: [] }) }
}
