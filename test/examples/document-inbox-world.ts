/** The document inbox over a schema of its own: its tables, and processes of it. */
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { Pool } from 'pg'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'
import { postgresUrl } from '../stores/postgres-tables.ts'

export const EXAMPLE = new URL('../../examples/document-inbox/', import.meta.url)
const ADMIN_TOKEN = 'token-of-the-test'

export interface Web {
  readonly process: NodeProcess
  signIn(email: string): Promise<Response>
  upload(document: Document): Promise<Response>
  /** With the token of the administrators. */
  dead(): Promise<unknown>
  retry(id: string): Promise<Response>
  readonly siteUrl: string
}

export interface Document {
  readonly messageId: string
  readonly sender: string
  readonly document: string
}

export interface DocumentWorld {
  readonly database: Pool
  /** Resolves when it has started. */
  startWorker(name: string, env?: Readonly<Record<string, string>>): Promise<NodeProcess>
  startWeb(env?: Readonly<Record<string, string>>): Promise<Web>
  /** Starts one of the programs, whatever becomes of it. */
  spawn(program: string, env?: Readonly<Record<string, string>>): NodeProcess
  count(statement: string, values?: unknown[]): Promise<number>
  /** As the other service hands them in: one transaction. */
  handIn(documents: readonly Document[]): Promise<void>
  /** How often each message was handled. */
  handled(): Promise<Record<string, number>>
  close(): Promise<void>
}

/** Short times, and a reader that takes none. */
const QUICK = { READ_MS: '0', POLL_MS: '50', RETRY_AFTER_MS: '10' }

export async function openWorld(): Promise<DocumentWorld> {
  const schema = `document_inbox_${randomBytes(4).toString('hex')}`
  const url = new URL(postgresUrl())
  url.searchParams.set('options', `-c search_path=${schema}`)
  const database = new Pool({ connectionString: url.href, max: 30 })
  await database.query(`CREATE SCHEMA ${schema}`)
  await database.query(readFileSync(new URL('tables.sql', EXAMPLE), 'utf8'))
  const processes: NodeProcess[] = []

  function spawn(program: string, env: Readonly<Record<string, string>> = {}): NodeProcess {
    const started = spawnNode(new URL(program, EXAMPLE), [], { DATABASE_URL: url.href, ...QUICK, ...env })
    processes.push(started)
    return started
  }

  async function startWorker(name: string, env: Readonly<Record<string, string>> = {}): Promise<NodeProcess> {
    const worker = spawn('worker.mjs', { NODE_ID: name, ...env })
    await worker.waitForLine(/^the worker has started/)
    return worker
  }

  async function startWeb(env: Readonly<Record<string, string>> = {}): Promise<Web> {
    const process = spawn('web.mjs', { ADMIN_TOKEN, PORT: '0', UPLOAD_PORT: '0', ...env })
    const [, port] = await process.waitForLine(/^the web part listens on port (\d+)/)
    const [, uploadPort] = await process.waitForLine(/^the part for uploads listens on port (\d+)/)
    const siteUrl = `http://127.0.0.1:${port}`
    const headers = { Authorization: `Bearer ${ADMIN_TOKEN}` }
    return {
      process,
      siteUrl,
      signIn: (email) => post(`${siteUrl}/sign-in`, { email }),
      upload: (document) => post(`http://127.0.0.1:${uploadPort}/documents`, document),
      async dead(): Promise<unknown> {
        const response = await fetch(`${siteUrl}/dead`, { headers })
        return response.json()
      },
      retry: (id) => fetch(`${siteUrl}/dead/${encodeURIComponent(id)}/retry`, { method: 'POST', headers }),
    }
  }

  async function count(statement: string, values: unknown[] = []): Promise<number> {
    const { rows } = await database.query<{ count: string }>(statement, values)
    return Number(rows[0]?.count)
  }

  return {
    database,
    spawn,
    startWorker,
    startWeb,
    count,
    async handIn(documents) {
      await database.query(
        `INSERT INTO incoming (message_id, sender, document)
          SELECT * FROM json_to_recordset($1) AS ("messageId" text, sender text, document text)`,
        [JSON.stringify(documents)],
      )
    },
    async handled() {
      const { rows } = await database.query<{ message_id: string; times: number }>(
        'SELECT message_id, count(*)::integer AS times FROM documents GROUP BY message_id ORDER BY message_id',
      )
      return Object.fromEntries(rows.map((row) => [row.message_id, row.times]))
    },
    async close() {
      for (const started of processes) started.kill('SIGKILL')
      await Promise.all(processes.map((started) => started.exited))
      await database.query(`DROP SCHEMA ${schema} CASCADE`)
      await database.end()
    },
  }
}

export function post(url: string, body: unknown): Promise<Response> {
  const headers = { 'Content-Type': 'application/json' }
  return fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
}

/** So many documents, of senders who take turns. */
export function documents(name: string, many: number, senders = 1): Document[] {
  return Array.from({ length: many }, (_, index) => ({
    messageId: `${name}-${index}`,
    sender: `customer-${index % senders}@example.com`,
    document: index % 3 === 0 ? 'not filled in' : 'filled in and signed',
  }))
}
