/**
 * Takes the pictures of the admin page that the README shows: `npm run screenshots`. A bot of two nodes, one of which
 * has gone silent, with a dead message. Needs Chromium at /usr/bin/chromium, or at CHROMIUM.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import express from 'express'
import { chromium } from 'playwright-core'
import { createSessionLock } from 'session-lock'
import { adminRouter } from 'session-lock/admin'
import { createInbox } from 'session-lock/inbox'

const SHOTS = {
  light: { colorScheme: 'light', viewport: { width: 1180, height: 960 } },
  dark: { colorScheme: 'dark', viewport: { width: 1180, height: 960 } },
  phone: { colorScheme: 'light', viewport: { width: 390, height: 960 } },
}
const DEVICE = '100000000000001'
const directory = mkdtempSync(join(tmpdir(), 'session-lock-screenshots-'))
process.chdir(directory)

const store = 'sqlite:./bot.db'
const lock = createSessionLock({ store, nodeId: 'web-1', logger: false })
await lock.ready()
const silent = createSessionLock({ store, nodeId: 'web-2', staleAfterMs: 5000, renew: false, logger: false })
const unending = new Promise(() => {})
const hold = (by, prospect) =>
  void by.run({ messageId: `wamid.HBgL${prospect}`, prospect, device: DEVICE }, () => unending).catch(() => undefined)
for (const prospect of ['15550002222', '15550003333']) hold(silent, prospect)
for (const prospect of ['15550004444', '15550005555', '15550006666']) hold(lock, prospect)

const handler = () => {
  throw new Error('the language model answered 529: overloaded, try again later')
}
const inbox = createInbox({ lock, maxAttempts: 1, handler })
await inbox.start()
const lost = { id: 'wamid.HBgL15550009999', prospect: '15550009999', device: DEVICE }
await inbox.accept({ provider: 'whatsapp-cloud', messages: [lost] }, {})

const traffic = setInterval(() => {
  const number = Math.floor(Math.random() * 200)
  const key = { messageId: `m${number}`, prospect: `1555000${number % 9}`, device: DEVICE }
  lock.run(key, () => sleep(Math.random() * 500), { lockWaitMs: 300 }).catch(() => undefined)
}, 60)

const app = express()
app.use('/locks', adminRouter({ lock, authorize: () => 'photographer' }))
const server = await new Promise((resolve) => {
  const started = app.listen(0, '127.0.0.1', () => resolve(started))
})
await sleep(30_000)
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking'],
})
for (const [name, options] of Object.entries(SHOTS)) {
  const page = await browser.newPage(options)
  await page.goto(`http://127.0.0.1:${server.address().port}/locks/`)
  await page.locator('#live', { hasText: 'live' }).waitFor()
  const path = fileURLToPath(new URL(`../../examples/screenshots/${name}.png`, import.meta.url))
  await page.screenshot({ path })
}
await browser.close()
clearInterval(traffic)
rmSync(directory, { recursive: true, force: true })
process.exit()
