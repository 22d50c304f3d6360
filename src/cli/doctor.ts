/** `session-lock doctor`: what is wrong with the store, and what to do about it. */

import { examineStore } from '../engine/doctor.ts'
import { createSessionLock } from '../engine/lock.ts'
import type { Finding, FindingLevel } from '../store/examine.ts'
import { examineOpenFile } from '../store/file-holders.ts'
import { openStore } from '../store/open.ts'
import { examineRights, heldFinding } from '../store/sqlite-examine.ts'
import { type Store, StoreError } from '../store/store.ts'
import { type Colour, coloured } from './colour.ts'
import { asJson, type Command, counted, type OptionValues, type Printed } from './command.ts'
import { STORE_HELP, STORE_OPTIONS, sqlitePath, storeUrl, tablePrefix } from './store.ts'
import { printable } from './table.ts'

const TIMEOUT_MS = 2500

/** The command. */
export const doctorCommand: Command = {
  summary: 'look for what is wrong with the store, and say what to do',
  help: `Usage: session-lock doctor [options]

Reaches for the store and looks at what a lock depends on: version, clock, whether it takes writes,
privileges, the tables' version and indexes, isolation, durability, connections near their limit;
for Redis also eviction, persistence and cluster slots, for SQLite also who else has the file open.
Names stale sessions, with the node that has stopped renewing them, and dead messages.
Ends with code 3 where it finds a fault; a warning, which may be meant so, ends it with 0. Nothing is
changed.

Options:
${STORE_HELP}
  --file PATH           say who has this file open too: one of DuckDB's, which lets one process in at a time
  --json                a JSON array of findings: check, level (ok, warning, fault), text, advice
  --help                this text

Examples:
  npx session-lock doctor --store sqlite:./bot.db
  npx session-lock doctor --store sqlite:./app.duckdb.leases --file app.duckdb
  npx session-lock doctor --json | jq '.[] | select(.level != "ok")'`,
  options: { ...STORE_OPTIONS, file: { type: 'string' }, json: { type: 'boolean' } },
  async run(values): Promise<Printed> {
    const file = values['file']
    const findings = [...(await examine(values)), ...(typeof file === 'string' ? [examineOpenFile(file)] : [])]
    const bad = findings.filter(({ level }) => level !== 'ok')
    const code = bad.some(({ level }) => level === 'fault') ? 3 : 0
    if (values['json'] === true) return { text: asJson(findings), code }
    const summary = bad.length === 0 ? 'nothing is wrong' : `${counted(bad.length, 'finding')} to look at`
    return { text: [...findings.map(describe), '', summary].join('\n'), code }
  },
}

async function examine(values: OptionValues): Promise<Finding[]> {
  const url = storeUrl(values)
  const settings = { tablePrefix: tablePrefix(values), timeoutMs: TIMEOUT_MS, asItIs: true }
  let store: Store
  try {
    ;({ store } = await openStore(url, settings))
  } catch (error) {
    // A file that somebody else holds, or that may not be written, is a finding; a wrong URL is not.
    const path = sqlitePath(url)
    if (path === undefined || !(error instanceof StoreError)) throw error
    if (error.kind === 'unreachable') return [heldFinding(path, error)]
    const rights = examineRights(path)
    if (rights.level === 'ok') throw error
    return [rights]
  }
  const lock = createSessionLock({
    store,
    tablePrefix: settings.tablePrefix,
    migrate: 'off',
    cleanupEveryMs: 0,
    logger: false,
  })
  try {
    return await examineStore(store, lock)
  } finally {
    await lock.close()
    await store.close()
  }
}

const MARKS: Readonly<Record<FindingLevel, readonly [string, Colour]>> = {
  ok: ['ok     ', 'green'],
  warning: ['warning', 'yellow'],
  fault: ['FAULT  ', 'red'],
}

function describe({ check, level, text, advice }: Finding): string {
  const [mark, colour] = MARKS[level]
  const line = `${coloured(colour, mark)}  ${check.padEnd(12)}  ${printable(text)}`
  return advice === undefined ? line : `${line}\n${' '.repeat(23)}→ ${printable(advice)}`
}
