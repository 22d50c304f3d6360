/** Every block of code in the documentation is run, from the packed tarball, in an app of somebody else's. */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, test } from 'vitest'
import { makePackageApp, type PackageApp } from '../package/package-app.ts'
import { postgresUrl } from '../stores/postgres-tables.ts'
import { redisUrl } from '../stores/redis-keys.ts'
import { type Block, blocksOf, DOCUMENTS } from './blocks.ts'
import { SETTINGS } from './settings.ts'

const INSTALLED = [
  ...['express', 'pg', 'ioredis', 'mysql2', 'better-sqlite3', 'prom-client', '@opentelemetry/api', 'grammy'],
  ...['@slack/bolt', 'fastify', 'koa', 'hono', '@hono/node-server', '@nestjs', 'reflect-metadata', 'rxjs'],
]

const root = join(import.meta.dirname, '../..')
const blocks = DOCUMENTS.flatMap(blocksOf)
const programs = blocks.filter(({ language }) => language === 'ts' || language === 'js')
const commands = blocks
  .filter(({ language }) => language === 'sh')
  .flatMap(({ name, code }) => code.split('\n').map((line) => ({ name, line: line.replace(/\s*#.*/, '') })))
  .filter(({ line }) => line !== '')

let app: PackageApp

beforeAll(async () => {
  app = await makePackageApp(INSTALLED)
  app.write('here.mjs', readFileSync(join(import.meta.dirname, 'here.mjs'), 'utf8'))
  await app.run(
    'tables.mjs',
    `import { createSessionLock } from 'session-lock'
    const lock = createSessionLock({ store: 'sqlite:./bot.db', logger: false })
    await lock.ready()
    await lock.close()`,
  )
})

/** Stores that the reader has to name are the tests' own. */
function withStores(code: string): string {
  const urls = { 'postgres://…': postgresUrl(), 'redis://…': redisUrl(), 'mysql://…': 'memory:' }
  return Object.entries(urls).reduce((text, [shown, url]) => text.replaceAll(shown, url), code)
}

function programOf({ name, code }: Block): string {
  const setting = SETTINGS[name]
  if (!setting) throw new Error(`${name} is not in settings.ts: say there what it takes for granted, and what follows`)
  const here =
    "import { createHmac, deliver, deliveryOf, end, equal, keepRunning, randomUUID, serve, until } from './here.mjs'"
  return [here, setting.before, withStores(code), setting.after, 'end()'].join('\n')
}

describe('programs', () => {
  test.each(programs)(
    '$name',
    async (block) => {
      process.env['POSTGRES_URL'] = postgresUrl()
      const file = `${block.name.replaceAll(/\W+/g, '-')}.mjs`
      await app.run(file, programOf(block))
    },
    60_000,
  )

  test('there is no setting of a block that is no more', () => {
    expect(Object.keys(SETTINGS).sort()).toEqual(programs.map(({ name }) => name).sort())
  })
})

describe('commands', () => {
  const environment = { ...process.env, SESSION_LOCK_URL: 'sqlite:./bot.db' }
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const { peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    peerDependencies: Record<string, string>
  }

  test.each(commands.filter(({ line }) => line.startsWith('npx session-lock')))(
    '$name: $line',
    async ({ line }) => {
      const program = join(app.directory, 'node_modules/.bin/session-lock')
      const args = line.split(' ').slice(2)
      const ended = await promisify(execFile)(process.execPath, [program, ...args], {
        cwd: app.directory,
        env: environment,
      }).catch((failure) => failure)
      // 3: done, and there is something to look at.
      expect([undefined, 3], ended.stderr).toContain(ended.code)
    },
    60_000,
  )

  test.each(commands.filter(({ line }) => !line.startsWith('npx session-lock')))('$name: $line', ({ line }) => {
    for (const part of line.split(' && ')) {
      const [program, verb, ...rest] = part.split(' ')
      if (program === 'npm' && verb === 'run') expect(scripts).toHaveProperty([rest[0] ?? ''])
      else if (program === 'npm' && verb === 'install') {
        for (const name of rest) expect([...Object.keys(peerDependencies), 'session-lock']).toContain(name)
      } else if (program === 'npx') expect(existsSync(join(root, rest[1] ?? ''))).toBe(true)
      else expect(['npm ci', 'npm test', 'export']).toContain(program === 'export' ? program : part)
    }
  })
})

test('links lead somewhere, those of the examples too', () => {
  const examples = readdirSync(join(root, 'examples')).map((name) => `examples/${name}/README.md`)
  for (const document of [...DOCUMENTS, ...examples.filter((file) => existsSync(join(root, file)))]) {
    const text = readFileSync(join(root, document), 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\(((?!https?:|#)[^)\s]+)\)/g)) {
      const [path = '', anchor] = target.split('#')
      const file = join(root, document, '..', path)
      expect(existsSync(file), `${document} → ${target}`).toBe(true)
      if (anchor) expect(anchorsOf(file), `${document} → ${target}`).toContain(anchor)
    }
    for (const [, anchor] of text.matchAll(/\]\(#([^)\s]+)\)/g))
      expect(anchorsOf(join(root, document))).toContain(anchor)
  }
})

/** As GitHub makes them. */
function anchorsOf(file: string): string[] {
  const headings = readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)
  return [...headings].map(([, text = '']) =>
    text
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  )
}
