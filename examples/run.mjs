/**
 * Runs one of the examples: `npm run example -- notes-processor`. Where `DATABASE_URL` is not set, a throwaway database
 * of the kind that the example is for is started beside it, and removed afterwards.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { inWorkshop } from '../test/bench/workshop.mjs'

/** The databases they are for; none: a file is enough. */
const EXAMPLES = {
  'whatsapp-session-bot': ['mysql'],
  'notes-processor': ['postgres'],
  'file-processor': ['mysql'],
  'document-inbox': ['postgres'],
  'duckdb-app': [],
}

const [name = ''] = process.argv.slice(2)
if (!Object.hasOwn(EXAMPLES, name)) {
  console.error(`Name one of the examples: npm run example -- ${Object.keys(EXAMPLES).join(' | ')}`)
  process.exit(1)
}

async function show(databaseUrl) {
  const main = fileURLToPath(new URL(`${name}/main.mjs`, import.meta.url))
  const environment = { ...process.env, ...(databaseUrl && { DATABASE_URL: databaseUrl }) }
  const started = spawn(process.execPath, [main], { stdio: 'inherit', env: environment })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => started.kill(signal))
  const [code] = await once(started, 'exit')
  return code ?? 1
}

const [database] = EXAMPLES[name]
if (!database || process.env.DATABASE_URL) process.exitCode = await show(process.env.DATABASE_URL)
else {
  await inWorkshop([database], async ({ urls }) => {
    process.exitCode = await show(urls[database])
  })
}
