/**
 * The same two programs without a lease: `node old-way.mjs web`, `node old-way.mjs pipeline`. `OPEN` says when they
 * open the file: `at-start`, once for all; `in-turn`, for each piece of work, one after the other in this process;
 * `at-once`, for each piece of work, as it comes.
 */
import { loadBatches } from './batches.mjs'
import { firstLineOf, isFileLockError, openFile, workIn } from './duckdb-file.mjs'
import { createApp } from './routes.mjs'
import { numberFrom, readSettings, textFrom } from './settings.mjs'
import { makeTables } from './tables.mjs'

const { path } = readSettings()
const ways = { 'at-start': openAtStart, 'in-turn': openInTurn, 'at-once': () => openAndWork }
const way = ways[textFrom('OPEN', `one of ${Object.keys(ways).join(', ')}`)]
const use = await way()

async function openAtStart() {
  const instance = await open()
  return (work) => workIn(instance, work)
}

function openInTurn() {
  let last = Promise.resolve()
  return (work) => {
    const turn = last.then(() => openAndWork(work))
    last = turn.catch(() => {})
    return turn
  }
}

async function openAndWork(work) {
  const instance = await open()
  try {
    return await workIn(instance, work)
  } finally {
    instance.closeSync()
  }
}

async function open() {
  try {
    return await openFile(path)
  } catch (error) {
    if (isFileLockError(error)) console.log(`opening failed: ${firstLineOf(error)}`)
    throw error
  }
}

if (process.argv[2] === 'web') {
  await use(makeTables)
  const server = createApp(use).listen(numberFrom('PORT', 3000), () => {
    console.log(`the web app listens on port ${server.address().port}`)
  })
  process.once('SIGTERM', () => process.exit(0))
} else {
  const thinkMs = numberFrom('THINK_MS', 500)
  const directory = textFrom('BATCH_DIR', 'the directory that the CSV files are in')
  const failures = await loadBatches(use, directory, { thinkMs, isStopping: () => false })
  process.exitCode = failures > 0 ? 1 : 0
}
