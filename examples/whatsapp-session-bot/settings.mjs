/** What the programs are told by the environment. */

const MEANINGS = {
  DATABASE_URL: 'the database of the bot, mysql://user:password@host/database (SESSION_LOCK_URL does as well)',
  GATEWAY_URL: 'where Gowa takes what is to be sent, for instance http://127.0.0.1:3001',
  MODEL_URL: 'what is asked for an answer',
  WEBHOOK_SECRET: 'what Gowa signs its deliveries with, there called WHATSAPP_WEBHOOK_SECRET',
}

/** The settings of a program that cannot do without the variables named; ends the process where one is missing. */
export function readSettings(...required) {
  const { env } = process
  const given = { ...env, DATABASE_URL: env.DATABASE_URL || env.SESSION_LOCK_URL }
  const missing = required.filter((name) => !given[name])
  for (const name of missing) console.error(`${name} is not set. Set it to ${MEANINGS[name]}.`)
  if (missing.length > 0) process.exit(1)
  return {
    databaseUrl: given.DATABASE_URL,
    gatewayUrl: given.GATEWAY_URL,
    modelUrl: given.MODEL_URL,
    webhookSecret: given.WEBHOOK_SECRET,
    port: readNumber('PORT', 3000),
    staleAfterMs: readNumber('STALE_AFTER_MS', 30_000),
    oldLockTable: readTableName('OLD_LOCK_TABLE'),
  }
}

function readNumber(name, otherwise) {
  const value = Number(process.env[name] || otherwise)
  if (Number.isSafeInteger(value) && value >= 0) return value
  console.error(`${name} is not a whole number. Set it to one, or leave it out: it is ${otherwise} then.`)
  process.exit(1)
}

/** It becomes part of statements, so it may hold nothing that would end a name there. */
function readTableName(name) {
  const value = process.env[name] || undefined
  if (value === undefined || /^\w{1,48}$/.test(value)) return value
  console.error(`${name} is not the name of a table. Use up to 48 letters, digits and underscores.`)
  process.exit(1)
}
