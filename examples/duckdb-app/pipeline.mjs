/**
 * The pipeline: loads the CSV files of a directory into the DuckDB file that the web app writes too, and ends. Start it
 * again (by cron, after a crash): what is loaded is left alone. Ends with code 1 where a batch could not be loaded.
 */
import { loadBatches } from './batches.mjs'
import { createDatabase } from './database.mjs'
import { numberFrom, readSettings, textFrom } from './settings.mjs'

// Nobody waits for a pipeline: it can wait for the lease of a web app that has crashed.
const database = createDatabase({ ...readSettings(30), name: 'pipeline' })
const directory = textFrom('BATCH_DIR', 'the directory that the CSV files are in, for instance ./batches')
const thinkMs = numberFrom('THINK_MS', 500)

/** The batch in hand is loaded to its end; one that still waits for the file is not begun. */
let isStopping = false
const stop = () => {
  console.log('shutting down')
  isStopping = true
  void database.close()
}
process.once('SIGTERM', stop)
process.once('SIGINT', stop)

const failures = await loadBatches(database.use, directory, { thinkMs, isStopping: () => isStopping })
await database.close()
if (failures > 0) console.error('Start the pipeline again for the batches that were not loaded.')
process.exitCode = failures > 0 ? 1 : 0
