/** The two programs, as the show starts them and looks into them. */
import { startProcess } from './processes.mjs'

const READ_MS = '60'
const ADMIN_TOKEN = 'token-of-the-show'
const MAX_ATTEMPTS = '3'

/** The old way: two processes, each of which does everything. */
export const oldWay = {
  title: 'the old way',
  schema: 'document_inbox_old',
  files: ['tables.sql', 'old-way.sql'],
  /** Which message ids it knows; how many documents wait, and how many the worker that is killed has in hand. */
  known: 'SELECT message_id FROM jobs',
  waiting: "SELECT count(*) FROM jobs WHERE status = 'new'",
  inHands: "SELECT count(*) FROM jobs WHERE status = 'working' AND taken_by = 'node-1'",
  /** Message ids that somebody is told of: nobody is. */
  dead: async () => [],
  async start(databaseUrl) {
    const settings = { DATABASE_URL: databaseUrl, READ_MS, PORT: '0' }
    const start = (env) => startProcess('old-way.mjs', { ...settings, ...env }, /listens on port (\d+)/)
    const startVictim = () => start({ NODE_ID: 'node-1', POLLS: '1' })
    const [victim, other] = await Promise.all([startVictim(), start({ NODE_ID: 'node-2' })])
    const url = `http://127.0.0.1:${other.said}`
    return { victim, startVictim, others: [other], signInUrl: url, uploadUrl: url }
  },
}

/** The inbox: two workers and the web part. */
export const inbox = {
  title: 'the inbox',
  schema: 'document_inbox',
  files: ['tables.sql'],
  known: "SELECT message_id FROM session_lock_messages WHERE provider = 'documents'",
  waiting: 'SELECT count(*) FROM session_lock_queued',
  // The session of the poller is held too, but no message with it.
  inHands: "SELECT count(*) FROM session_lock_sessions WHERE node_id = 'worker-1' AND message_ids <> '[]'",
  async dead(url) {
    const response = await fetch(`${url}/dead`, { headers: { Authorization: `Bearer ${ADMIN_TOKEN}` } })
    return (await response.json()).map(({ id }) => id)
  },
  async start(databaseUrl) {
    // Short times and a small MAX_IN_FLIGHT, for a show that lasts for seconds. In production leave them as they are.
    const times = { READ_MS, STALE_AFTER_MS: '2000', RETRY_AFTER_MS: '100', POLL_MS: '100' }
    const settings = { DATABASE_URL: databaseUrl, MAX_ATTEMPTS, ...times }
    const startWorker = (name) => startProcess('worker.mjs', { ...settings, NODE_ID: name }, /the worker has started/)
    const startVictim = () => startWorker('worker-1')
    const web = { ...settings, ADMIN_TOKEN, MAX_IN_FLIGHT: '10', PORT: '0', UPLOAD_PORT: '0' }
    const [victim, other, site] = await Promise.all([
      startVictim(),
      startWorker('worker-2'),
      startProcess('web.mjs', web, /web part listens on port (\d+)/),
    ])
    const uploadPort = await site.says(/uploads listens on port (\d+)/)
    const signInUrl = `http://127.0.0.1:${site.said}`
    return { victim, startVictim, others: [other, site], signInUrl, uploadUrl: `http://127.0.0.1:${uploadPort}` }
  },
}
