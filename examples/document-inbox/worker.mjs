/** A worker: takes documents from the table `incoming` into the inbox, and handles what is in there. Start several. */
import pg from 'pg'
import { openInbox, openLock, SOURCE } from './document-inbox.mjs'
import { fetchIncoming } from './incoming.mjs'
import { numberSetting, requireSettings } from './settings.mjs'

requireSettings('DATABASE_URL')

const lock = openLock()
const inbox = openInbox(lock)
// One connection: of all the workers one asks at a time, and it asks one thing at a time.
const incoming = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 1, connectionTimeoutMillis: 5000 })
// A connection that breaks while nobody uses it is replaced; unheard, its error would end the process.
incoming.on('error', (error) => console.error(`a connection was lost: ${error.message}`))

await inbox.start()
inbox.poll({
  source: SOURCE,
  everyMs: numberSetting('POLL_MS', 1000),
  fetch: (after) => fetchIncoming(incoming, after),
})
console.log('the worker has started')

/** Documents in hand are handled to their end; what waits is for the other workers. */
async function shutDown() {
  console.log('shutting down')
  await inbox.stop()
  await Promise.all([lock.close(), incoming.end()])
}
process.once('SIGTERM', shutDown)
process.once('SIGINT', shutDown)
