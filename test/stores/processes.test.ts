/** Several real processes race on one number in a file that nothing but the lease guards. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, test } from 'vitest'
import { makeTemporaryDirectory, removeTemporaryDirectory } from '../processes/guard.ts'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'
import { dropTables, mysqlUrl } from './mysql-tables.ts'
import { dropPostgresTables, postgresUrl } from './postgres-tables.ts'
import { redisUrl, removeKeys } from './redis-keys.ts'

const CHILD = new URL('children/counter.mjs', import.meta.url)
const PROCESSES = 4
const TIMES = 50

const directory = makeTemporaryDirectory('processes')
const prefixes = new Set<string>()
afterAll(() => removeTemporaryDirectory(directory))
afterAll(() => dropTables(prefixes))
const postgresPrefixes = new Set<string>()
afterAll(() => dropPostgresTables(postgresPrefixes))
const redisPrefixes = new Set<string>()
afterAll(() => removeKeys(redisPrefixes))

const stores = {
  sqlite: (prefix: string) => `sqlite:${join(directory, `${prefix}.db`)}`,
  mysql: (prefix: string) => {
    prefixes.add(prefix)
    return mysqlUrl()
  },
  postgres: (prefix: string) => {
    postgresPrefixes.add(prefix)
    return postgresUrl()
  },
  redis: (prefix: string) => {
    redisPrefixes.add(prefix)
    return redisUrl()
  },
}

for (const [name, urlOf] of Object.entries(stores)) {
  test(`${name}: several processes add to one unguarded counter, and none is lost`, async () => {
    const { counterFile, start } = race(urlOf)
    const children = Array.from({ length: PROCESSES }, () => start(TIMES))
    await startTogether(children)
    await untilDone(children)
    assert.equal(Number(readFileSync(counterFile, 'utf8')), PROCESSES * TIMES)
    assertSettled(children)
  })

  test(`${name}: a holder killed in the middle is taken over, with a larger token, and the counter stays exact`, async () => {
    const { counterFile, start } = race(urlOf)
    const [victim, ...others] = [start(0), start(TIMES), start(TIMES)]
    await startTogether([victim])
    const [, token] = await victim.waitForLine(/^holding (\d+)$/)
    await startTogether(others)
    const killedAt = performance.now()
    victim.kill('SIGKILL')
    const firsts = await Promise.race(others.map((child) => child.waitForLine(/^settled (\d+)$/)))
    assert.ok(performance.now() - killedAt < 10_000)
    assert.ok(Number(firsts[1]) > Number(token), `${firsts[1]} after ${token}`)
    await untilDone(others)
    assert.equal(Number(readFileSync(counterFile, 'utf8')), others.length * TIMES)
    assertSettled(others)
  })
}

function race(urlOf: (prefix: string) => string) {
  const prefix = `t${randomBytes(6).toString('hex')}_`
  const [url, counterFile] = [urlOf(prefix), join(directory, `${prefix}counter`)]
  writeFileSync(counterFile, '0')
  const start = (times: number) => spawnNode(CHILD, [url, prefix, counterFile, String(times)])
  return { counterFile, start }
}

/** Processes need unlike times to load; the race begins when all are there. */
async function startTogether(children: readonly NodeProcess[]): Promise<void> {
  await Promise.all(children.map((child) => child.waitForLine(/^ready$/)))
  for (const child of children) child.send('go')
}

async function untilDone(children: readonly NodeProcess[]): Promise<void> {
  await Promise.all(children.map((child) => child.waitForLine(/^done$/)))
}

/** Every lease was settled by its holder, and no two had one token. */
function assertSettled(children: readonly NodeProcess[]): void {
  const settled = children.flatMap(({ lines }) => lines.filter((line) => /^(settled|lost)/.test(line)))
  assert.ok(settled.every((line) => line.startsWith('settled')))
  assert.equal(settled.length, children.length * TIMES)
  assert.equal(new Set(settled).size, settled.length)
}
