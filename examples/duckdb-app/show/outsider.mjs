/** A program that knows nothing of leases, as somebody with the DuckDB command line: has the file open until SIGTERM. */
import { openFile } from '../duckdb-file.mjs'

const instance = await openFile(process.argv[2])
console.log('has the file open')
const timer = setInterval(() => {}, 60_000)
process.once('SIGTERM', () => {
  instance.closeSync()
  clearInterval(timer)
})
