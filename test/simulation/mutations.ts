/** Ways to break the engine or its store, each of which the simulator must notice. */
import { cp, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** `from` stands once in that file of the build. */
export interface Mutation {
  readonly breaks: string
  readonly file: string
  readonly from: string
  readonly to: string
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/**
 * Copies the package to `directory`, with one text of one file of its build replaced, and resolves to that build. Rejects
 * where the text is not there exactly once: then the code has changed, and the mutation has to follow it.
 */
export async function breakEngine(directory: string, { file, from, to }: Mutation): Promise<string> {
  for (const part of ['dist', 'sql']) await cp(join(ROOT, part), join(directory, part), { recursive: true })
  await symlink(join(ROOT, 'node_modules'), join(directory, 'node_modules'))
  const build = join(directory, 'dist')
  const source = await readFile(join(build, file), 'utf8')
  const found = source.split(from).length - 1
  if (found !== 1) throw new Error(`${file} has this ${found} times, not once: ${from}`)
  await writeFile(
    join(build, file),
    source.replace(from, () => to),
  )
  return build
}

export const MUTATIONS: readonly Mutation[] = [
  {
    breaks: 'a settlement looks at neither owner nor token',
    file: 'store/local.js',
    from: `        return row?.owner === settlement.owner && row.fencingToken === fencingToken;
    });
    if (!isHeld)`,
    to: `        return row !== undefined || fencingToken < 0;
    });
    if (!isHeld)`,
  },
  {
    breaks: 'a renewal looks at neither owner nor token',
    file: 'store/local.js',
    from: 'if (row?.owner !== renewal.owner || row.fencingToken !== fencingToken)',
    to: 'if (!row || fencingToken < 0)',
  },
  {
    breaks: 'the store goes by the clock of whoever asks',
    file: 'store/memory.js',
    from: 'moment.now = readClock();',
    to: 'moment.now = readClock() + globalThis.simulatedCallerMs % 30_000;',
  },
  {
    breaks: 'the clock is read before the lock is had',
    file: 'store/memory.js',
    from: 'moment.now = readClock();',
    to: 'const before = moment.now; moment.now = readClock(); if (moment.now - before < 5000) return before;',
  },
  {
    breaks: 'a lease is taken over before it is stale',
    file: 'store/decide.js',
    from: 'const isLive = row.expiresAt > found.now &&',
    to: 'const isLive = row.expiresAt > found.now + 500 &&',
  },
  {
    breaks: 'who gets a session does not look at its message again',
    file: 'store/decide.js',
    from: 'const done = found.completed.get(key);',
    to: 'const done = found.rows.get(part.rows[0].key) ? found.completed.get(key) : undefined;',
  },
  {
    breaks: 'a token does not grow with a takeover',
    file: 'store/decide.js',
    from: 'token = Math.max(token, row.fencingToken + 1);',
    to: 'token = row.fencingToken;',
  },
  {
    breaks: 'a token forgets what was before a clean release',
    file: 'store/local.js',
    from: 'found.tokenFloor = Math.max(moment.largestToken + 1, Math.floor(moment.now * 1000));',
    to: 'found.tokenFloor = 1;',
  },
  {
    breaks: 'a session that was taken for a completed message is not given back',
    file: 'store/local.js',
    from: 'giveBackRows(tables, claim.owner, part);',
    to: `if (verdict?.outcome === 'completed') takeRows(tables, claim, part, { ...verdict, fencingToken: moment.largestToken + 1 }, moment);`,
  },
  {
    breaks: 'a verdict is told before it is committed, and the commit fails',
    file: 'store/local.js',
    from: 'moment.largestToken = Math.max(moment.largestToken, verdict.fencingToken);\n',
    to: `moment.largestToken = Math.max(moment.largestToken, verdict.fencingToken);
    if (moment.largestToken % 31 === 0) return;
`,
  },
  {
    breaks: 'the clean-up does not look at a row again',
    file: 'store/memory.js',
    from: 'row.expiresAt <= now - abandonedAfterMs &&',
    to: 'row.lockedAt <= now - 2000 &&',
  },
  {
    breaks: 'a settlement removes its rows, and forgets the message',
    file: 'store/local.js',
    from: "if (settlement.outcome !== 'released') {",
    to: "if (settlement.outcome !== 'released' && settlement.rows[0].fencingToken % 17 > 0) {",
  },
  {
    breaks: 'a settlement that is repeated is refused',
    file: 'store/local.js',
    from: "return isSettledAlready(tables, settlement) ? 'settled' : 'lost';",
    to: "return 'lost';",
  },
  {
    breaks: 'a lost answer is repeated under a new owner',
    file: 'engine/batches.js',
    from: '        queue = [...again, ...queue];',
    to: `        for (const waiting of again) {
            if (waiting.item.parts) waiting.item = { ...waiting.item, owner: \`\${waiting.item.owner}b\` };
        }
        queue = [...again, ...queue];`,
  },
  {
    breaks: 'the heartbeat goes on after the end',
    file: 'engine/hold.js',
    from: '        this.#unsettledLeases = this.leases.length;\n        this.#engine.heart.remove(this);',
    to: '        this.#unsettledLeases = this.leases.length;',
  },
  {
    breaks: 'nothing is renewed',
    file: 'engine/hold.js',
    from: 'const renewAt = renew && !this.#renewing ? this.#renewAt : Number.POSITIVE_INFINITY;',
    to: 'const renewAt = renew && maxHoldMs < 0 ? this.#renewAt : Number.POSITIVE_INFINITY;',
  },
  {
    breaks: 'a lease counts from the answer, not from the question',
    file: 'engine/hold.js',
    from: '            this.#givenSince(sentAt);\n        }\n        catch',
    to: '            this.#givenSince(port.now() + staleAfterMs / 2);\n        }\n        catch',
  },
  {
    breaks: 'a handler whose renewal is refused is not told',
    file: 'engine/hold.js',
    from: 'if (!lease.lost && lease.rows.some((row) => refused.has(row.key)))',
    to: 'if (refused.size < 0)',
  },
  {
    breaks: 'a failed handler completes its message',
    file: 'engine/hold.js',
    from: "outcome: messages.length === 0 ? 'released' : result.status,",
    to: "outcome: messages.length === 0 ? 'released' : 'completed',",
  },
  {
    breaks: 'a duplicate is answered by what the handler says, though its lease may be lost',
    file: 'engine/hold.js',
    from: "        if (verdict === 'lost') {\n",
    to: `        if (this.#result.status === 'completed') keeper.completed(messages.map(({ key }) => ({ key, response })));
        if (verdict === 'lost') {
`,
  },
  {
    breaks: 'a closing node frees what its handlers hold',
    file: 'engine/lock.js',
    from: '        await cleaningStopped;\n',
    to: `        await cleaningStopped;
        const store = await engine.store();
        const free = async ({ key, nodeId, owner, fencingToken }) => {
            const settlement = { owner, nodeId, rows: [{ key, fencingToken }], messages: [], outcome: 'released' };
            if (nodeId === resolved.nodeId) await store.settle([settlement]);
        };
        await store.sessions({ limit: 1000 }).then((rows) => Promise.all(rows.map(free))).catch(() => undefined);
`,
  },
  {
    breaks: 'what is in flight is answered as completed',
    file: 'engine/claims.js',
    from: "turn.resolve({ outcome: 'duplicate', of: 'in_flight', retryAfterMs: RETRY_AFTER_MS });",
    to: "turn.resolve({ outcome: 'duplicate', of: 'completed', response: null });",
  },
  {
    breaks: 'a busy session makes a duplicate of another message',
    file: 'engine/claims.js',
    from: "turn.resolve({ outcome: 'busy', retryAfterMs: RETRY_AFTER_MS });",
    to: "turn.resolve({ outcome: 'duplicate', of: 'in_flight', retryAfterMs: RETRY_AFTER_MS });",
  },
  {
    breaks: 'what could not be had of a delivery is acknowledged with the rest',
    file: 'engine/claims.js',
    from: '            withheld: withheldOf(turn),',
    to: '            withheld: null,',
  },
  {
    breaks: 'whoever is done with a session does not look whether more has come for it',
    file: 'store/sqlite-queue.js',
    from: '`, sessionKey);\n        if (removed > 0)',
    to: ' OR last_sequence % 5 = 0`, sessionKey);\n        if (removed > 0)',
  },
  {
    breaks: 'messages of the inbox come in any order',
    file: 'store/sqlite-queue.js',
    from: 'ORDER BY sequence LIMIT ?`, sessionKey, most)',
    to: 'ORDER BY message_key LIMIT ?`, sessionKey, most)',
  },
  {
    breaks: 'what a handler wrote is committed, though it has failed',
    file: 'engine/hold.js',
    from: "        if (result.status === 'completed') {\n            this.rolledBack",
    to: '        if (result.status) {\n            this.rolledBack',
  },
  {
    breaks: 'a commit that may not have been is taken for one',
    file: 'engine/commit.js',
    from: 'return (await hasCommitted(engine, settlements))',
    to: 'return settlements.length > 0',
  },
]
