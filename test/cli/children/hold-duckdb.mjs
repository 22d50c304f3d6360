/** Has a DuckDB file open until it is killed. */
import { DuckDBInstance } from '@duckdb/node-api'

const instance = await DuckDBInstance.create(process.argv[2])
const connection = await instance.connect()
await connection.run('CREATE TABLE visits (id integer)')
console.log('held')
setInterval(() => connection.run('SELECT 1'), 1000)
