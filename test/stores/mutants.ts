import type { Claim, Store } from '../../src/store/store.ts'
import {
  claimEach,
  claimStaleRowsTwice,
  forgetting,
  settleRowByRow,
  settleTellingOfFirst,
  withEarlyLook,
  withKeys,
  withoutLocks,
  withShrinkingTokens,
  withTokensForgotten,
  withTokensFound,
} from './broken-stores.ts'

/** A store that breaks one promise, and words of the name of the test that must notice. */
export interface Mutant {
  readonly breaks: string
  readonly caughtBy: string
  readonly change: (store: Store) => Store
}

/** The memory store, broken in one way each. */
export const MUTANTS: readonly Mutant[] = [
  {
    breaks: 'settles without looking at the owner',
    caughtBy: 'a settlement by another owner',
    change: (store) => ({
      ...store,
      async settle(settlements) {
        const rows = await store.sessions({ limit: 10_000 })
        const ownerOf = (key: string | undefined) => rows.find((row) => row.key === key)?.owner
        return store.settle(settlements.map((item) => ({ ...item, owner: ownerOf(item.rows[0]?.key) ?? item.owner })))
      },
    }),
  },
  {
    breaks: 'settles without looking at the token',
    caughtBy: 'with another token is lost',
    change: (store) => ({ ...store, settle: async (items) => store.settle(await withTokensFound(store, items)) }),
  },
  {
    breaks: 'renews without looking at the token',
    caughtBy: 'a renewal by another owner, with another token',
    change: (store) => ({ ...store, renew: async (items) => store.renew(await withTokensFound(store, items)) }),
  },
  {
    breaks: 'renews only what has not expired',
    caughtBy: 'can be renewed, and is live again',
    change: (store) => ({
      ...store,
      async renew(renewals) {
        const stale = new Set((await store.sessions({ stale: true, limit: 10_000 })).map(({ key }) => key))
        const verdicts = await store.renew(renewals)
        return verdicts.map((verdict, item) =>
          verdict.map((renewed, row) => renewed && !stale.has(renewals[item]?.rows[row]?.key ?? '')),
        )
      },
    }),
  },
  {
    breaks: 'answers the settlements of a batch in reverse',
    caughtBy: 'settlements of one batch',
    change: (store) => ({ ...store, settle: async (items) => (await store.settle(items)).reverse() }),
  },
  {
    breaks: 'answers the claims of a batch in reverse',
    caughtBy: 'claims of one batch',
    change: (store) => ({ ...store, claim: async (claims) => (await store.claim(claims)).reverse() }),
  },
  {
    breaks: 'says lost for settled and settled for lost',
    caughtBy: 'a completed settlement removes',
    change: (store) => ({
      ...store,
      settle: async (items) => (await store.settle(items)).map((verdict) => (verdict === 'lost' ? 'settled' : 'lost')),
    }),
  },
  {
    breaks: 'says settled whatever became of it',
    caughtBy: 'a settlement after a takeover is lost',
    change: (store) => ({ ...store, settle: async (items) => (await store.settle(items)).map(() => 'settled') }),
  },
  {
    breaks: 'removes the rows it has of a settlement that is lost',
    caughtBy: 'of which one is lost removes none',
    change: (store) => ({ ...store, settle: (items) => settleRowByRow(store, items) }),
  },
  {
    breaks: 'does not give back the row of a completed message',
    caughtBy: 'the row just taken is given back',
    change: (store) => ({
      ...store,
      claim: (claims) =>
        claimEach(store, claims, async (claim, verdict) => {
          const rows = claim.parts
            .filter((_, index) => verdict[index]?.outcome === 'completed')
            .flatMap((part) => part.rows)
          for (const row of rows) await store.claim([{ ...claim, parts: [{ rows: [row], messages: [] }] }])
          return verdict
        }),
    }),
  },
  {
    breaks: 'gives tokens that shrink',
    caughtBy: 'the token grows after every clean release',
    change: withShrinkingTokens,
  },
  {
    breaks: 'takes over before the row is stale',
    caughtBy: 'once it is stale and not before',
    change: (store) => ({
      ...store,
      claim: (claims) => store.claim(claims.map((claim) => ({ ...claim, staleAfterMs: claim.staleAfterMs / 2 }))),
    }),
  },
  {
    breaks: 'gives leases that last longer than asked',
    caughtBy: 'a free row is acquired',
    change: (store) => ({
      ...store,
      claim: (claims) => store.claim(claims.map((claim) => ({ ...claim, staleAfterMs: 10 ** 9 }))),
    }),
  },
  {
    breaks: 'compares keys without case',
    caughtBy: 'row keys are compared as bytes',
    change: (store) => withKeys(store, (key) => key.toLowerCase()),
  },
  {
    breaks: 'pads keys, so that trailing spaces do not count',
    caughtBy: 'message keys are compared as bytes',
    change: (store) => withKeys(store, (key) => key.trimEnd()),
  },
  {
    breaks: 'cuts keys at 254 characters',
    caughtBy: 'row keys are compared as bytes',
    change: (store) => withKeys(store, (key) => key.slice(0, 254)),
  },
  {
    breaks: 'normalises keys',
    caughtBy: 'message keys are compared as bytes',
    change: (store) => withKeys(store, (key) => key.normalize('NFC')),
  },
  {
    breaks: 'keeps what it got of a whole claim',
    caughtBy: 'keeps nothing when one of its parts is held',
    change: (store) => ({
      ...store,
      claim: (claims) => store.claim(claims.map((claim) => ({ ...claim, whole: false }))),
    }),
  },
  {
    breaks: 'takes nothing where a claim need not be whole',
    caughtBy: 'that need not be whole takes what is free',
    change: (store) => ({
      ...store,
      claim: (claims) => store.claim(claims.map((claim) => ({ ...claim, whole: true }))),
    }),
  },
  {
    breaks: 'does not look whether a message is completed',
    caughtBy: 'the row just taken is given back',
    change: (store) => ({
      ...store,
      claim: (claims) =>
        store.claim(
          claims.map((claim) => ({ ...claim, parts: claim.parts.map((part) => ({ ...part, messages: [] })) })),
        ),
    }),
  },
  {
    breaks: 'looks before it has the row: the settlement between is missed',
    caughtBy: 'at the very moment of the settlement',
    change: withEarlyLook,
  },
  {
    breaks: 'deletes a row that is released by force',
    caughtBy: 'a row released by force is kept',
    change: (store) => ({
      ...store,
      async release(keys) {
        const rows = await store.release(keys)
        await store.cleanup({ abandonedAfterMs: 0, limit: 10_000 })
        return rows
      },
    }),
  },
  {
    breaks: 'stores responses as text',
    caughtBy: 'a response comes back byte by byte',
    change: (store) => ({
      ...store,
      settle: (items) =>
        store.settle(items.map((item) => ({ ...item, response: item.response && Buffer.from(`${item.response}`) }))),
    }),
  },
  {
    breaks: 'cleans up live rows',
    caughtBy: 'and never a live one',
    change: (store) => ({
      ...store,
      async cleanup(options) {
        await store.release((await store.sessions({ limit: options.limit })).map(({ key }) => key))
        return store.cleanup({ ...options, abandonedAfterMs: 0 })
      },
    }),
  },
  {
    breaks: 'cleans up without a limit',
    caughtBy: 'at most as many rows',
    change: (store) => ({ ...store, cleanup: (options) => store.cleanup({ ...options, limit: 10_000 }) }),
  },
  {
    breaks: 'forgets the tokens of a claim that asks for a larger one',
    caughtBy: 'larger than the largest that the node has seen',
    change: (store) => ({
      ...store,
      claim: (claims) => store.claim(claims.map((claim) => ({ ...claim, tokenAbove: 0 }))),
    }),
  },
  {
    breaks: 'forgets everything when its last handle is closed',
    caughtBy: 'when all have closed and one opens again',
    change: forgetting,
  },
  {
    breaks: 'gives a token again after a clean-up',
    caughtBy: 'where a clean-up has removed the row',
    change: withTokensForgotten,
  },
  {
    breaks: 'keeps the stale rows of a claim that is refused',
    caughtBy: 'keeps no stale row',
    change: (store) => ({ ...store, claim: (claims) => claimStaleRowsTwice(store, claims) }),
  },
  {
    breaks: 'listens, and never calls back',
    caughtBy: 'a store that listens',
    change: (store) => ({ ...store, listen: () => undefined }),
  },
  {
    breaks: 'gives a lock to several transactions',
    caughtBy: 'gives a row’s lock to one of them',
    change: (store) => ({ ...store, transactions: withoutLocks() }),
  },
  {
    breaks: 'marks nothing as completed with a commit',
    caughtBy: 'a transaction settles with its commit',
    change: (store) => ({ ...store, transactions: withoutLocks() }),
  },
  {
    breaks: 'forgets the tokens of a takeover that asks for a larger one',
    caughtBy: 'of a row that is taken over too',
    change: (store) => ({
      ...store,
      async claim(claims) {
        const found = new Set((await store.sessions({ stale: true, limit: 10_000 })).map(({ key }) => key))
        const isFound = ({ parts }: Claim) => parts.some(({ rows }) => rows.some(({ key }) => found.has(key)))
        return store.claim(claims.map((claim) => (isFound(claim) ? { ...claim, tokenAbove: 0 } : claim)))
      },
    }),
  },
  {
    breaks: 'tells of those who wait for the first row only',
    caughtBy: 'for any row of which somebody else waits',
    change: (store) => ({ ...store, settle: (items) => settleTellingOfFirst(store, items) }),
  },
  {
    breaks: 'remembers no message for longer than its settlement says',
    caughtBy: 'for less, or for more',
    change: (store) => ({
      ...store,
      settle: (items) =>
        store.settle(
          items.map((item) => ({
            ...item,
            messages: item.messages.map((message) => ({
              ...message,
              retentionMs: Math.min(message.retentionMs ?? item.retentionMs, item.retentionMs),
            })),
          })),
        ),
    }),
  },
  {
    breaks: 'marks the first message only of those that failed',
    caughtBy: 'a failed settlement marks each',
    change: (store) => ({
      ...store,
      settle: (items) =>
        store.settle(
          items.map((item) => (item.outcome === 'failed' ? { ...item, messages: item.messages.slice(0, 1) } : item)),
        ),
    }),
  },
]
