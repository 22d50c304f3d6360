/** What a node is told by its environment: see README.md for what each variable means. */
import { hostname } from 'node:os'

const HOUR_MS = 3_600_000

export const settings = {
  databaseUrl: required('DATABASE_URL', 'mysql://user:password@127.0.0.1:3306/database'),
  filesDirectory: required('FILES_DIRECTORY', '/srv/incoming'),
  tablePrefix: prefix(required('TABLE_PREFIX', 'dev_ on your own machine, prod_ in production')),
  serverId: process.env.NODE_ID || `${hostname()}-${process.pid}`,
  host: process.env.HOST || '127.0.0.1',
  port: number('PORT', 3000),
  staleAfterMs: number('STALE_AFTER_MS', HOUR_MS),
  maxHoldMs: number('MAX_HOLD_MS', 24 * HOUR_MS),
  pollMs: number('POLL_MS', 1000),
  pauseMs: number('PAUSE_MS', 0),
}

function required(name, example) {
  return process.env[name] || stop(`${name} is not set: give it a value such as ${example}. README.md explains it.`)
}

function number(name, otherwise) {
  const value = Number(process.env[name] || otherwise)
  if (value >= 0) return value
  return stop(`${name} takes a number, not "${process.env[name]}".`)
}

/** It becomes part of statements, so it is letters, digits and underscores only. */
function prefix(value) {
  if (/^[A-Za-z_]\w{0,39}$/.test(value)) return value
  return stop(`TABLE_PREFIX takes at most 40 letters, digits and underscores, not "${value}".`)
}

function stop(problem) {
  console.error(problem)
  process.exit(1)
}
