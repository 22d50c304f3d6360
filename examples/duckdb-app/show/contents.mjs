/** What is in the file at the end, as JSON: `node contents.mjs app.duckdb`. For when nobody else has it open. */
import { openFile, workIn } from '../duckdb-file.mjs'

const instance = await openFile(process.argv[2])
const contents = await workIn(instance, async ({ query }) => ({
  orders: (await query('SELECT id FROM orders')).map(({ id }) => id),
  visits: await query('SELECT batch, count(*)::INTEGER AS visits FROM visits GROUP BY batch'),
}))
instance.closeSync()
console.log(JSON.stringify(contents))
