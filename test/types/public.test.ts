/** What an editor tells a bot's author. The assertions are the compiler's: `npm run types` fails where one does not hold. */
import express, { type RequestHandler } from 'express'
import { expectTypeOf, test } from 'vitest'
import { createInbox, type InboxHandler, type InboxMessage } from '../../src/inbox/index.ts'
import {
  createSessionLock,
  type Lease,
  type RunResult,
  type SessionInfo,
  type SessionLock,
  type SessionLockOptions,
  sessionLock,
  type TransactionClient,
  withSessionLock,
} from '../../src/index.ts'
import { createRowClaims, type HandledRow } from '../../src/rows/rows.ts'
import {
  type Claim,
  type ClaimVerdict,
  MAX_KEY_BYTES,
  type Queue,
  type Renewal,
  type Settlement,
  type SettlementVerdict,
  type Store,
  type Take,
  type Taken,
} from '../../src/testing/index.ts'

/** Compiled, never called. */
function compiledOnly(_code: () => unknown): void {
  // Nothing: the types are the test.
}

test('options: each has a type of its own, and unknown ones are none', () => {
  expectTypeOf<SessionLockOptions>().toHaveProperty('lockWaitMs').toEqualTypeOf<number | undefined>()
  expectTypeOf<SessionLockOptions['strategy']>().toEqualTypeOf<'lease' | 'transaction' | undefined>()
  compiledOnly(() => {
    // @ts-expect-error an unknown option
    createSessionLock({ lockWait: 1 })
    // @ts-expect-error a number of milliseconds
    createSessionLock({ lockWaitMs: '2s' })
  })
})

test('the strategy says what lease.tx is', () => {
  compiledOnly(() => {
    expectTypeOf(createSessionLock()).toEqualTypeOf<SessionLock<undefined>>()
    expectTypeOf(createSessionLock({ strategy: 'transaction' })).toEqualTypeOf<SessionLock<TransactionClient>>()
    const own = createSessionLock<{ sql: (text: string) => void }>({ strategy: 'transaction' })
    void own.run({ session: 'a' }, (lease) => {
      expectTypeOf(lease.tx.sql).toBeFunction()
    })
    void createSessionLock().run({ session: 'a' }, (lease) => {
      expectTypeOf(lease.tx).toBeUndefined()
      expectTypeOf(lease.signal).toEqualTypeOf<AbortSignal>()
      expectTypeOf(lease.fencingToken).toBeNumber()
    })
  })
})

test('what run resolves to is narrowed by its status', () => {
  expectTypeOf<RunResult<string>['status']>().toEqualTypeOf<'processed' | 'duplicate' | 'busy'>()
  type Of<Status> = Extract<RunResult<string>, { status: Status }>
  expectTypeOf<Of<'processed'>['value']>().toBeString()
  expectTypeOf<Of<'busy'>['retryAfterMs']>().toBeNumber()
  expectTypeOf<Of<'duplicate'>['of']>().toEqualTypeOf<'completed' | 'in_flight'>()
  compiledOnly(async () => {
    const result = await createSessionLock().run({ messageId: 'm1' }, () => 42)
    // @ts-expect-error there is no value before the status is known
    result.value.toFixed()
    if (result.status === 'processed') expectTypeOf(result.value).toBeNumber()
  })
})

test('middleware and handlers fit Express, and requests know their lock', () => {
  compiledOnly(() => {
    const app = express()
    app.use(sessionLock())
    app.use(sessionLock({ store: 'memory:' }))
    expectTypeOf(sessionLock()).toExtend<RequestHandler>()
    app.post(
      '/hook',
      withSessionLock(createSessionLock(), async (req, res) => {
        expectTypeOf(req.sessionLock?.fencingToken).toEqualTypeOf<number | undefined>()
        expectTypeOf(req.sessionLock?.waitUntil).not.toBeAny()
        res.sendStatus(200)
      }),
    )
  })
})

test('looking inside and listening', () => {
  compiledOnly(() => {
    const lock = createSessionLock()
    expectTypeOf(lock.sessions).returns.resolves.toEqualTypeOf<SessionInfo[]>()
    lock.on('takeover', (event) => {
      expectTypeOf(event.fromNodeId).toEqualTypeOf<string | null>()
      expectTypeOf(event.ageMs).toBeNumber()
    })
    // @ts-expect-error no such event
    lock.on('taken', () => undefined)
  })
})

test('the inbox hands over messages, rows their own type', () => {
  compiledOnly(() => {
    const lock = createSessionLock()
    createInbox({
      lock,
      handler(messages, lease) {
        expectTypeOf(messages).toEqualTypeOf<readonly [InboxMessage, ...InboxMessage[]]>()
        expectTypeOf(lease).toEqualTypeOf<Lease<undefined>>()
      },
    })
    createInbox({
      lock: createSessionLock({ strategy: 'transaction' }),
      handler: async ([message], lease) => lease.tx.query('INSERT INTO seen VALUES (?)', [message.id]),
    })
    const anyOf: InboxHandler = (messages: readonly InboxMessage[]) => messages.length
    createInbox({ lock, handler: anyOf })
    const rows = createRowClaims({
      lock,
      name: 'notes',
      read: (id: number) => ({ id, body: 'hello' }),
      handle(note) {
        expectTypeOf(note).toEqualTypeOf<{ id: number; body: string }>()
        return note.body.length
      },
    })
    expectTypeOf(rows.next).returns.resolves.toEqualTypeOf<HandledRow<number, number>[]>()
    // @ts-expect-error the ids are numbers
    void rows.one('7')
  })
})

test('a store of one’s own is written with the types of the contract', () => {
  compiledOnly((): Pick<Store, 'claim' | 'settle' | 'renew'> & { readonly queue: Pick<Queue, 'take'> } => ({
    claim: async (claims: readonly Claim[]): Promise<ClaimVerdict[]> => claims.map(() => []),
    settle: async (items: readonly Settlement[]): Promise<SettlementVerdict[]> => items.map(() => 'lost'),
    renew: async (renewals: readonly Renewal[]) => renewals.map(({ rows }) => rows.map(() => false)),
    queue: { take: async (_wanted: Take): Promise<Taken[]> => [] },
  }))
  expectTypeOf(MAX_KEY_BYTES).toBeNumber()
})
