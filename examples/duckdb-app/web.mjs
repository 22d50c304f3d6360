/** The web app: writes orders into a DuckDB file that a pipeline writes too, and reports from it. */
import { createDatabase } from './database.mjs'
import { createApp } from './routes.mjs'
import { numberFrom, readSettings } from './settings.mjs'
import { makeTables } from './tables.mjs'

const database = createDatabase({ ...readSettings(), name: 'web' })
const port = numberFrom('PORT', 3000)

await database.use(makeTables)
const server = createApp(database.use).listen(port, (error) => {
  if (error) throw error
  console.log(`the web app listens on port ${server.address().port}`)
})

/** Requests in hand are answered; those that still wait for the file are told to come again. */
async function shutDown() {
  console.log('shutting down')
  server.close()
  await database.close()
  // Else connections that are kept alive would keep this process alive too.
  server.closeIdleConnections()
}
process.once('SIGTERM', shutDown)
process.once('SIGINT', shutDown)
