/** The pipeline's work: every CSV file of a directory is a batch of visits, loaded once. `use` gives it the file. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { firstLineOf } from './duckdb-file.mjs'
import { makeTables } from './tables.mjs'

/**
 * Loads what is not loaded yet, in the order of the names. Resolves to how many batches could not be loaded.
 *
 * @param thinkMs - how long the part of a batch takes that stands for your own work
 * @param isStopping - true: no more batches
 */
export async function loadBatches(use, directory, { thinkMs, isStopping }) {
  let failures = 0
  for (const file of readdirSync(directory).sort()) {
    if (isStopping()) break
    if (!file.endsWith('.csv')) continue
    const batch = { id: file.slice(0, -'.csv'.length), path: join(directory, file) }
    try {
      const isNew = await use((transaction) => loadBatch(transaction, batch, thinkMs))
      console.log(isNew ? `batch ${batch.id} is loaded` : `batch ${batch.id} was loaded before`)
    } catch (error) {
      failures += 1
      console.log(`batch ${batch.id} was not loaded: ${firstLineOf(error)}`)
    }
  }
  return failures
}

/** The visits and the mark that they are loaded are one transaction: a crash leaves both, or neither. */
async function loadBatch({ query, signal }, { id, path }, thinkMs) {
  await makeTables({ query })
  const known = await query('SELECT id FROM batches WHERE id = $1', [id])
  if (known.length > 0) return false
  await query(
    `INSERT INTO visits
     SELECT $1, product, seconds FROM read_csv($2, columns = {product: 'VARCHAR', seconds: 'INTEGER'}, header = true)`,
    [id, path],
  )
  await query('INSERT INTO batches SELECT $1, count(*) FROM visits WHERE batch = $1', [id])
  console.log(`batch ${id} is written, and not committed yet`)
  // Stands for what else is to be done with a batch; given up once the lease is lost.
  await sleep(thinkMs, undefined, { signal })
  return true
}
