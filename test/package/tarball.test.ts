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
  const expected = /^(dist|sql)\/|^(README\.md|LICENSE|CHANGELOG\.md|package\.json)$/
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
  const code = `for (const door of ${doors}) if (!door.endsWith('.json')) await import('session-lock' + door.slice(1)); console.log('all')`
  expect(await bare.run('doors.mjs', code)).toBe('all\n')
  expect(await bare.run('bare.mjs', `await import('session-lock'); console.log('loaded')`)).toBe('loaded\n')
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
