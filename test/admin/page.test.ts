/** The page, in a real browser. */
import { readFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import express from 'express'
import type { Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { adminRouter, basicAuth } from '../../src/admin/index.ts'
import { createInbox } from '../../src/inbox/index.ts'
import { createSessionLock, type SessionLock, type SessionLockOptions } from '../../src/index.ts'
import { listen } from '../http/bot.ts'
import { makeTemporaryDirectory } from '../processes/guard.ts'
import { openBrowser, type TestBrowser } from './browser.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const STALE_AFTER_MS = 1000

let browser: TestBrowser
const locks: SessionLock[] = []
const ends: Array<() => void> = []
let fileCount = 0
const directory = makeTemporaryDirectory('page')

beforeAll(async () => {
  browser = await openBrowser()
})
afterEach(async () => {
  await browser.forgetPages()
  for (const end of ends.splice(0)) end()
  await Promise.all(locks.splice(0).map((lock) => lock.close()))
})
afterAll(() => browser.close())

function open(store: string, options: SessionLockOptions = {}): SessionLock {
  const lock = createSessionLock({ store, logger: false, storeTimeoutMs: 2000, ...options })
  locks.push(lock)
  return lock
}

/** A node with an admin, over a file of its own. */
async function startNode(
  options: SessionLockOptions = {},
): Promise<{ store: string; lock: SessionLock; origin: string }> {
  const store = `sqlite:${directory}/page-${fileCount++}.db`
  const lock = open(store, { nodeId: 'node-one', ...options })
  await lock.ready()
  const router = adminRouter({ lock, authorize: basicAuth({ ops: 'secret' }), refreshMs: 200 })
  ends.push(router.close)
  const app = express()
  app.use('/locks', router)
  return { store, lock, origin: await listen(app) }
}

const CREDENTIALS = { httpCredentials: { username: 'ops', password: 'secret' } }
const openPage = (origin: string, options = {}) => browser.newPage(`${origin}/locks/`, { ...CREDENTIALS, ...options })

/** Resolves when its handler runs, to what ends it, and to its signal. */
function hold(lock: SessionLock, prospect: string): Promise<{ end: () => void; signal: AbortSignal }> {
  return new Promise((resolve, reject) => {
    const key = { messageId: `m-${prospect}`, prospect, device: '100000000000001' }
    const handler = (signal: AbortSignal) =>
      new Promise<void>((end) => {
        ends.push(end)
        resolve({ end, signal })
      })
    lock.run(key, (lease) => handler(lease.signal)).catch(reject)
  })
}

const rowOf = (page: Page, name: string) => page.locator('#sessions tbody tr').filter({ hasText: name })

async function seriousFindings(page: Page): Promise<string[]> {
  await page.evaluate(AXE)
  const found = await page.evaluate('axe.run()')
  const { violations } = found as { violations: Array<{ id: string; impact: string; nodes: Array<{ html: string }> }> }
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`)
}

test('a session appears when it is held and goes when it is released, without a reload', async () => {
  const { lock, origin } = await startNode()
  const page = await openPage(origin)
  await page.evaluate('globalThis.isSamePage = true')
  await page.locator('#sessions', { hasText: 'No session is held.' }).waitFor()
  const { end } = await hold(lock, '15550002222')
  await rowOf(page, '15550002222').filter({ hasText: 'live' }).waitFor()
  await page.locator('#nodes', { hasText: 'node-one' }).waitFor()
  end()
  await page.locator('#sessions', { hasText: 'No session is held.' }).waitFor()
  await page.locator('#summary li', { hasText: 'completed' }).filter({ hasText: '1' }).waitFor()
  await page.locator('#outcomes [aria-label^="acquired: 1 in the last ten minutes"]').waitFor()
  expect(await page.evaluate('globalThis.isSamePage')).toBe(true)
  await browser.closePages()
})

test('a stale session is released by mouse, and another by keyboard', async () => {
  const { store, lock, origin } = await startNode()
  const silent = open(store, { nodeId: 'node-two', staleAfterMs: STALE_AFTER_MS, renew: false })
  await silent.ready()
  for (const prospect of ['by-mouse', 'by-keyboard']) await hold(silent, prospect)
  const live = await hold(lock, 'stays')
  const page = await openPage(origin)
  await rowOf(page, 'by-mouse').filter({ hasText: 'stale' }).getByRole('button', { name: 'Release by-mouse' }).click()
  await page.locator('#said', { hasText: '1 released' }).waitFor()
  await rowOf(page, 'by-mouse').waitFor({ state: 'detached' })

  const button = page.getByRole('button', { name: 'Release by-keyboard', exact: true })
  const isThere = async () => page.evaluate('document.activeElement.getAttribute("aria-label")')
  for (let presses = 0; (await isThere()) !== 'Release by-keyboard' && presses < 20; presses += 1) {
    await page.keyboard.press('Tab')
  }
  // The table is put in anew several times a second, and whoever stands on a button stays there.
  await button.evaluate('(button) => new Promise((gone) => setTimeout(() => gone(button.isConnected), 1000))')
  expect(await isThere()).toBe('Release by-keyboard')
  await page.keyboard.press('Enter')
  await rowOf(page, 'by-keyboard').waitFor({ state: 'detached' })
  expect((await lock.sessions()).map(({ prospect }) => prospect)).toEqual(['stays'])
  expect(live.signal.aborted).toBe(false)
  await browser.closePages()
})

test('a press that lasts over several updates counts', async () => {
  const { store, origin } = await startNode()
  const silent = open(store, { nodeId: 'node-two', staleAfterMs: STALE_AFTER_MS, renew: false })
  await silent.ready()
  for (const prospect of ['pressed', 'above']) await hold(silent, prospect)
  const page = await openPage(origin)
  // Both are stale by then, so that nothing moves under the mouse any more, and no question is asked.
  await rowOf(page, 'above').getByRole('button', { name: 'Release above', exact: true }).waitFor()
  await rowOf(page, 'pressed').getByRole('button', { name: 'Release pressed', exact: true }).hover()
  await page.mouse.down()
  const heldFor = rowOf(page, 'pressed').locator('[data-label="Held for"]')
  const before = await heldFor.textContent()
  await expect.poll(() => heldFor.textContent()).not.toBe(before)
  await page.mouse.up()
  await rowOf(page, 'pressed').waitFor({ state: 'detached' })
  expect(await rowOf(page, 'above').count()).toBe(1)
  await browser.closePages()
})

test('a live session is taken from its holder only by who says yes', async () => {
  const { lock, origin } = await startNode({ staleAfterMs: 3 * STALE_AFTER_MS })
  const { signal } = await hold(lock, '15550002222')
  const page = await openPage(origin)
  const questions: string[] = []
  const button = page.getByRole('button', { name: 'Release 15550002222 by force' })
  page.once('dialog', (dialog) => {
    questions.push(dialog.message())
    return dialog.dismiss()
  })
  await button.click()
  expect(questions).toEqual([expect.stringContaining('15550002222 is live: its handler is running on node-one')])
  expect(await lock.sessions()).toHaveLength(1)
  page.once('dialog', (dialog) => dialog.accept())
  await button.click()
  await page.locator('#sessions', { hasText: 'No session is held.' }).waitFor()
  expect(await lock.sessions()).toEqual([])
  await browser.closePages()
  await expect.poll(() => signal.aborted).toBe(true)
})

test('5 000 sessions are survived, and the page stays usable', async () => {
  const { store, lock, origin } = await startNode()
  const many = open(store, { nodeId: 'node-many', staleAfterMs: 600_000 })
  const claims = Array.from({ length: 5000 }, (_, at) =>
    many.claim({ provider: 'test', messages: [{ id: `m${at}`, prospect: `p${at}`, device: 'd' }] }),
  )
  const held = await Promise.all(claims)
  const page = await openPage(origin)
  await page.locator('#sessions', { hasText: 'and 4800 more' }).waitFor()
  expect(await page.locator('#sessions tbody tr').count()).toBe(200)
  await page.locator('#nodes li', { hasText: 'node-many' }).filter({ hasText: 'holds 5000' }).waitFor()
  await hold(lock, 'one-more')
  await page.locator('#summary li', { hasText: '5001' }).waitFor()
  await page.getByLabel('Find').fill('p4999')
  await page.getByRole('button', { name: 'Show' }).click()
  await page.getByRole('heading', { name: 'p4999' }).waitFor()
  await page.locator('main', { hasText: 'is held by node-many' }).waitFor()
  await browser.closePages()
  for (const claimed of held) if (claimed.outcome === 'acquired') claimed.hold.end({ status: 'completed' })
}, 120_000)

test('what strangers write is text', async () => {
  const { lock, origin } = await startNode()
  const evil = '<img src=x onerror=alert(1)>'
  await hold(lock, evil)
  await lock
    .run({ messageId: `<b>${evil}`, prospect: '"><script>alert(2)</script>' }, () => Promise.reject(new Error(evil)))
    .catch(() => undefined)
  let dialogs = 0
  const page = await openPage(origin)
  page.on('dialog', (dialog) => {
    dialogs += 1
    return dialog.dismiss()
  })
  await rowOf(page, evil).waitFor()
  expect(await page.locator('main img, main script:not([src])').count()).toBe(0)
  await rowOf(page, evil).getByRole('link').click()
  await page.getByRole('heading', { level: 2, name: evil }).waitFor()
  await page.goto(`${origin}/locks/show?name=${encodeURIComponent(`<b>${evil}`)}`)
  await page.locator('.timeline', { hasText: `failed by node-one: ${evil}` }).waitFor()
  expect(await page.locator('main img, main b b').count()).toBe(0)
  expect(dialogs).toBe(0)
  await browser.closePages()
})

test('a dead message is shown with its error, and queued again or dropped by its buttons', async () => {
  const { lock, origin } = await startNode()
  let isDown = true
  const handler = () => {
    if (isDown) throw new Error('the model is overloaded')
  }
  const inbox = createInbox({ lock, maxAttempts: 1, handler })
  ends.push(() => void inbox.stop())
  await inbox.start()
  for (const id of ['d1', 'd2']) await inbox.accept({ provider: 'test', messages: [{ id, prospect: id }] }, {})
  const page = await openPage(origin)
  const deadRow = (id: string) => page.locator('#dead tbody tr', { hasText: id })
  await deadRow('d1').filter({ hasText: 'the model is overloaded' }).waitFor()
  await deadRow('d2').waitFor()
  isDown = false
  await page.getByRole('button', { name: 'Retry d1' }).click()
  await deadRow('d1').waitFor({ state: 'detached' })
  await page.getByRole('button', { name: 'Discard d2' }).click()
  await page.locator('#dead', { hasText: 'No message is dead.' }).waitFor()
  await expect.poll(async () => (await lock.stats()).messages.completed).toBe(2)
  await browser.closePages()
})

test.each([
  ['light', { colorScheme: 'light', viewport: { width: 1280, height: 900 } }],
  ['dark', { colorScheme: 'dark', viewport: { width: 1280, height: 900 } }],
  ['phone', { colorScheme: 'light', viewport: { width: 390, height: 844 } }],
] as const)('%s: nothing serious for axe, and nothing is cut off', async (_, options) => {
  const { store, lock, origin } = await startNode()
  const silent = open(store, { nodeId: 'node-two', staleAfterMs: STALE_AFTER_MS, renew: false })
  await silent.ready()
  await hold(silent, '15550003333')
  await hold(lock, '15550002222')
  await lock.run({ messageId: 'bad', prospect: 'p' }, () => Promise.reject(new Error('no'))).catch(() => undefined)
  const page = await openPage(origin, options)
  await rowOf(page, '15550003333').filter({ hasText: 'stale' }).waitFor()
  expect(await seriousFindings(page)).toEqual([])
  expect(await page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')).toBe(true)
  await page.goto(`${origin}/locks/show?name=bad`)
  expect(await seriousFindings(page)).toEqual([])
  await browser.closePages()
})

test('a store that goes away is told of on the page', async () => {
  const { lock, origin } = await startNode()
  const page = await openPage(origin)
  await page.locator('#live', { hasText: 'live' }).waitFor()
  await lock.close()
  await page.getByRole('alert').filter({ hasText: 'The store does not answer' }).waitFor()
  await browser.closePages()
})

test('a page goes on by itself when a proxy that answered in the place of its node lets it through again', async () => {
  const lock = open('memory:')
  const router = adminRouter({ lock, authorize: () => true, refreshMs: 200 })
  ends.push(router.close)
  let isDown = false
  const streams: ServerResponse[] = []
  const app = express()
  app.use('/locks/events', (_request, response, next) => {
    streams.push(response)
    if (isDown) response.sendStatus(502)
    else next()
  })
  app.use('/locks', router)
  const page = await openPage(await listen(app))
  await page.locator('#live', { hasText: /^live$/ }).waitFor()
  isDown = true
  for (const response of streams) response.destroy()
  const before = streams.length
  await expect.poll(() => streams.length, { timeout: 20_000 }).toBeGreaterThan(before)
  await page.locator('#live', { hasText: 'not connected' }).waitFor()
  isDown = false
  await page.locator('#live', { hasText: /^live$/ }).waitFor()
  // The browser itself complains of the 502.
  await browser.forgetPages()
}, 60_000)
