import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { beforeAll, expect, test } from 'vitest'
import { makePackageApp, type PackageApp } from './package-app.ts'

const PUBLIC = ['createSessionLock', 'sessionLock', 'withSessionLock']

let app: PackageApp

beforeAll(async () => {
  app = await makePackageApp()
})

test('holds what a user needs and nothing else', () => {
  const expected = /^(dist|sql|docs)\/|^(README\.md|RUNBOOK\.md|SECURITY\.md|LICENSE|CHANGELOG\.md|package\.json)$/
  expect(app.files.filter((file) => !expected.test(file))).toEqual([])
  expect(app.files.filter((file) => /\.[cm]?ts$/.test(file) && !file.endsWith('.d.ts'))).toEqual([])
  expect(app.files).toEqual(expect.arrayContaining(['CHANGELOG.md', 'LICENSE', 'README.md', 'dist/index.js']))
  expect(app.files.some((file) => /^sql\/mysql\/.*\.sql$/.test(file))).toBe(true)
  expect(app.files.some((file) => /^sql\/sqlite\/.*\.sql$/.test(file))).toBe(true)
  expect(app.files.some((file) => /^sql\/redis\/.*\.lua$/.test(file))).toBe(true)
})

test('gives the same functions to import and to require', async () => {
  const printed = await app.run(
    'same.mjs',
    `import { createRequire } from 'node:module'
     import * as imported from 'session-lock'
     const required = createRequire(import.meta.url)('session-lock')
     const same = (name) => typeof imported[name] === 'function' && imported[name] === required[name]
     console.log(JSON.stringify(${JSON.stringify(PUBLIC)}.filter(same)))`,
  )
  expect(JSON.parse(printed)).toEqual(PUBLIC)
})

test('is required by a CommonJS app', async () => {
  const printed = await app.run(
    'required.cjs',
    `const lock = require('session-lock')
     console.log(JSON.stringify(Object.keys(lock).filter((name) => ${JSON.stringify(PUBLIC)}.includes(name)).sort()))`,
  )
  expect(JSON.parse(printed)).toEqual(PUBLIC)
})

test('loads no driver and no framework before a store or a server needs it', async () => {
  // Their files are CommonJS, which Node lists here however they were loaded.
  const printed = await app.run(
    'loaded.mjs',
    `import Module from 'node:module'
     await import('session-lock')
     const optional = /node_modules[\\\\/](express|mysql2|ioredis|better-sqlite3)[\\\\/]/
     console.log(JSON.stringify(Object.keys(Module._cache).filter((file) => optional.test(file))))`,
  )
  expect(JSON.parse(printed)).toEqual([])
})

test('loads where no driver and no framework is installed, by every door', async () => {
  const bare = await makePackageApp([])
  const doors = `Object.keys((await import('session-lock/package.json', { with: { type: 'json' } })).default.exports)`
  const code = `const missing = []
    for (const door of ${doors}) {
      if (door.endsWith('.json')) continue
      await import('session-lock' + door.slice(1)).catch(({ message }) => missing.push(door, /'(.*?)'/.exec(message)[1]))
    }
    console.log(missing.join(' '))`
  // These two are nothing without theirs.
  expect(await bare.run('doors.mjs', code)).toBe('./metrics prom-client ./opentelemetry @opentelemetry/api\n')
  expect(await bare.run('bare.mjs', `await import('session-lock'); console.log('loaded')`)).toBe('loaded\n')
})

test('serves the admin, by import and by require, with metrics where there is something to make them', async () => {
  const code = `const { createSessionLock } = door
     const lock = createSessionLock({ store: 'sqlite:./admin.db', logger: false })
     const handle = admin.adminFetch({ lock, authorize: () => true })
     const answers = await Promise.all(['/', '/api/stats', '/metrics'].map((path) => handle(new Request('http://bot' + path))))
     console.log(answers.map(({ status }) => status).join(' '), (await answers[0].text()).includes('<h1>'))
     handle.close()
     await lock.close()`
  const imports = `import * as door from 'session-lock'\nimport * as admin from 'session-lock/admin'`
  const requires = `const [door, admin] = [require('session-lock'), require('session-lock/admin')]`
  expect(await app.run('admin.mjs', `${imports}\n${code}`)).toBe('200 200 501 true\n')
  expect(await app.run('admin.cjs', `${requires};(async () => { ${code} })()`)).toBe('200 200 501 true\n')
  const measured = await makePackageApp(['better-sqlite3', 'prom-client'])
  expect(await measured.run('admin.mjs', `${imports}\n${code}`)).toBe('200 200 200 true\n')
})

test('the program says in one line which driver is missing', async () => {
  const bare = await makePackageApp([])
  const drivers = {
    'sqlite:./bot.db': 'better-sqlite3',
    'mysql://bot@127.0.0.1:1/bot': 'mysql2',
    'postgres://bot@127.0.0.1:1/bot': 'pg',
    'redis://127.0.0.1:1/0': 'ioredis',
  }
  bare.write('bot.db', '')
  for (const [store, driver] of Object.entries(drivers)) {
    // Later Nodes have an SQLite of their own.
    if (driver === 'better-sqlite3' && process.getBuiltinModule('node:sqlite') !== undefined) continue
    for (const command of ['sessions', 'doctor', 'migrate']) {
      const args = [join(bare.directory, 'node_modules/.bin/session-lock'), command, '--store', store]
      const failure = await promisify(execFile)(process.execPath, args, { cwd: bare.directory }).catch((error) => error)
      expect([store, command, failure.code]).toEqual([store, command, 1])
      expect(failure.stderr).toMatch(new RegExp(`^session-lock: [^\\n]*npm install ${driver}[^\\n]*\\n$`))
    }
  }
})

test('its types stand in a strict project', async () => {
  const options = { noEmit: true, strict: true, target: 'es2023', module: 'nodenext', types: ['node'] }
  app.write('tsconfig.json', JSON.stringify({ compilerOptions: options, files: ['bot.mts'] }))
  app.write(
    'bot.mts',
    `import { createSessionLock, sessionLock, withSessionLock } from 'session-lock'
     export const lock = createSessionLock({ store: 'memory:' })
     export const middleware = sessionLock(lock)
     export const handler = withSessionLock(lock, async () => {})
     // @ts-expect-error an unknown option
     createSessionLock({ lockWait: 1 })`,
  )
  const compiler = join(import.meta.dirname, '../../node_modules/typescript/bin/tsc')
  const check = promisify(execFile)(process.execPath, [compiler, '-p', app.directory])
  // What the compiler has to say is on its standard output.
  expect(
    await check.then(
      ({ stdout }) => stdout,
      ({ stdout }: { stdout: string }) => stdout,
    ),
  ).toBe('')
})
