/** A real Chromium, which is told to keep to itself. */
import { type BrowserContext, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { expect } from 'vitest'
import { findOrInstall } from '../servers/find-program.ts'

const HOW_TO_INSTALL = `The tests look at the admin page in a real Chromium; none was found. Install it:
  Debian           sudo apt-get install chromium
  Fedora           sudo dnf install chromium
  Alpine           sudo apk add chromium
  macOS            brew install --cask chromium
or put the folder that holds "chromium" or "google-chrome" on the PATH.`

const QUIET = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

export interface TestBrowser {
  /** Opens a page in a context of its own. */
  newPage(url: string, options?: BrowserContextOptions): Promise<Page>
  /** Closes all pages, and expects that none had an error on its console or asked anything but loopback. */
  closePages(): Promise<void>
  /** After a test that failed: closes all pages, whatever they had to say. */
  forgetPages(): Promise<void>
  close(): Promise<void>
}

export async function openBrowser(): Promise<TestBrowser> {
  const executablePath = findOrInstall({
    names: ['chromium', 'chromium-browser', 'google-chrome'],
    aptPackage: 'chromium',
    howToInstall: HOW_TO_INSTALL,
  })
  const browser = await chromium.launch({ executablePath, args: QUIET })
  const complaints: string[] = []
  const contexts: BrowserContext[] = []

  async function forgetPages(): Promise<void> {
    await Promise.all(contexts.splice(0).map((context) => context.close()))
    complaints.length = 0
  }

  function listen(page: Page): void {
    page.on('console', (message) => {
      if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text())
    })
    page.on('pageerror', (error) => complaints.push(error.message))
    page.on('request', (request) => {
      if (new URL(request.url()).hostname !== '127.0.0.1') complaints.push(`asked ${request.url()}`)
    })
  }

  return {
    async newPage(url, options = {}) {
      const context = await browser.newContext({ ...options })
      contexts.push(context)
      const page = await context.newPage()
      page.setDefaultTimeout(20_000)
      listen(page)
      await page.goto(url)
      return page
    },
    async closePages() {
      const found = complaints.splice(0)
      await forgetPages()
      expect(found).toEqual([])
    },
    forgetPages,
    close: () => browser.close(),
  }
}
