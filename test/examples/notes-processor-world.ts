/** What each test of the example has to itself: a database, a model, and nodes of the app. */
import { Client } from 'pg'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'
import { postgresUrl } from '../stores/postgres-tables.ts'
import { type HeldModel, startHeldModel } from './notes-processor-model.ts'

export const EXAMPLE = new URL('../../examples/notes-processor/', import.meta.url)

/** A row of the table of notes. */
export interface Note {
  readonly id: number
  readonly user_id: string
  readonly status: string
  readonly summary: string | null
  readonly error: string | null
  readonly node: string | null
  readonly attempts: number
  readonly fencing_token: string
}

export interface App {
  readonly process: NodeProcess
  readonly url: string
  readonly post: (path: string, headers?: Readonly<Record<string, string>>, body?: unknown) => Promise<Response>
  /** The page at `/`. */
  readonly page: () => Promise<string>
}

export interface World {
  readonly databaseUrl: string
  readonly model: HeldModel
  readonly database: Client
  readonly startApp: (nodeId: string, env?: Readonly<Record<string, string>>) => Promise<App>
  /** Adds notes for a user; resolves to their ids. */
  readonly add: (app: App, user: string, ...notes: string[]) => Promise<number[]>
  readonly noteOf: (id: number | undefined) => Promise<Note>
  readonly end: () => Promise<void>
}

/** Long enough for a busy machine to renew a living lease, short enough to wait for. */
const STALE_AFTER_MS = '3000'
let databases = 0

export async function createWorld(): Promise<World> {
  const admin = new Client({ connectionString: postgresUrl() })
  await admin.connect()
  databases += 1
  const name = `notes_processor_${process.pid}_${databases}`
  await admin.query(`CREATE DATABASE ${name}`)
  const databaseUrl = new URL(postgresUrl())
  databaseUrl.pathname = name
  const database = new Client({ connectionString: databaseUrl.href })
  await database.connect()
  const model = await startHeldModel()
  const started: NodeProcess[] = []

  return {
    databaseUrl: databaseUrl.href,
    model,
    database,
    async startApp(nodeId, env = {}) {
      const settings = { DATABASE_URL: databaseUrl.href, MODEL_URL: model.url, STALE_AFTER_MS, PORT: '0' }
      const app = spawnNode(new URL('app.mjs', EXAMPLE), [], { ...settings, NODE_ID: nodeId, ...env })
      started.push(app)
      const url = (await app.waitForLine(/listens on (http\S+)/))[1] as string
      return {
        process: app,
        url,
        post: (path, headers = {}, body = undefined) =>
          fetch(`${url}${path}`, {
            method: 'POST',
            headers: { ...headers, ...(body !== undefined && { 'Content-Type': 'application/json' }) },
            redirect: 'manual',
            ...(body !== undefined && { body: JSON.stringify(body) }),
          }),
        page: async () => (await fetch(url)).text(),
      }
    },
    async add(app, user, ...notes) {
      const response = await app.post(`/users/${encodeURIComponent(user)}/notes`, {}, { notes })
      return ((await response.json()) as Note[]).map(({ id }) => id)
    },
    async noteOf(id) {
      const { rows } = await database.query('SELECT * FROM notes_processor_notes WHERE id = $1', [id])
      return rows[0] as Note
    },
    async end() {
      for (const app of started) app.kill('SIGKILL')
      await Promise.all(started.map((app) => app.exited))
      model.close()
      await database.end()
      // By force: Postgres needs a moment to see that a killed node is gone.
      await admin.query(`DROP DATABASE ${name} WITH (FORCE)`)
      await admin.end()
    },
  }
}
