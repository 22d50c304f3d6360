import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { openBrowser, type TestBrowser } from '../admin/browser.ts'
import { type App, createWorld, type World } from './notes-processor-world.ts'

let browser: TestBrowser
let world: World
let app: App

beforeAll(async () => {
  browser = await openBrowser()
}, 300_000)

afterAll(() => browser?.close())

beforeEach(async () => {
  world = await createWorld()
  app = await world.startApp('node-a')
})

afterEach(async () => {
  await browser.forgetPages()
  await world.end()
})

/** Has the model refuse a note; resolves to its id. */
async function failOne(user: string, text: string, error: string): Promise<number> {
  const [id] = await world.add(app, user, text)
  const response = app.post(`/notes/${id}/process`)
  ;(await world.model.nextCall()).refuse(error)
  expect((await response).status).toBe(502)
  return id as number
}

test('shows counts and notes, and writes out what is no text of its own', async () => {
  await failOne('<b>ana</b>', '<img src=x onerror=alert(1)>', '<script>"no"</script>')
  await world.add(app, 'bo', 'one', 'two')
  const response = await fetch(app.url)
  expect(response.headers.get('content-security-policy')).toContain("default-src 'none'")
  const html = await response.text()
  expect(html).not.toMatch(/<(b|img|script)\b/)
  for (const text of ['&lt;b&gt;ana&lt;/b&gt;', '&lt;img src=x onerror=alert(1)&gt;', '&lt;script&gt;&quot;no&quot;']) {
    expect(html).toContain(text)
  }
  const counts = Object.fromEntries(
    [...html.matchAll(/<dt>(\w+)<\/dt><dd>(\d+)/g)].map(([, name, count]) => [name, count]),
  )
  expect(counts).toEqual({ pending: '2', processing: '0', completed: '0', failed: '1' })
})

test('without JavaScript, its buttons retry a failed note and put stuck ones back', async () => {
  const other = await world.startApp('node-b')
  const failed = await failOne('ana', 'one', 'The model is overloaded.')
  const [stuck] = await world.add(app, 'ana', 'two')
  const lost = other.post(`/notes/${stuck}/process`).catch(() => 'lost')
  await world.model.nextCall()
  other.process.kill('SIGKILL')
  await lost
  await expect.poll(app.page).toContain('1 note is stuck')

  const page = await browser.newPage(app.url, { javaScriptEnabled: false })
  await page.getByRole('button', { name: `Retry note ${failed}` }).click()
  await page.getByRole('button', { name: 'Put stuck notes back to pending' }).click()
  await page.getByRole('row', { name: /two/ }).getByText('pending', { exact: true }).waitFor()
  expect(await page.getByRole('button').count()).toBe(0)
  expect(page.url()).toBe(`${app.url}/`)
  for (const id of [failed, stuck]) expect(await world.noteOf(id)).toMatchObject({ status: 'pending', error: null })
  await browser.closePages()
})

test('is light or dark as its visitor likes it', async () => {
  const backgrounds: unknown[] = []
  for (const colorScheme of ['light', 'dark'] as const) {
    const page = await browser.newPage(app.url, { colorScheme })
    backgrounds.push(await page.evaluate('getComputedStyle(document.body).backgroundColor'))
  }
  expect(backgrounds).toEqual(['rgb(246, 247, 249)', 'rgb(15, 19, 24)'])
  await browser.closePages()
})

test('takes forms of its own page and calls of programs, and none of other sites', async () => {
  const a = await world.startApp('node-a')
  const foreign = [
    { 'Sec-Fetch-Site': 'cross-site' },
    { 'Sec-Fetch-Site': 'same-site', Origin: a.url },
    { Origin: 'https://elsewhere.example' },
    { Origin: 'null' },
  ]
  for (const headers of foreign) expect((await a.post('/reset-stuck', headers)).status).toBe(403)
  const own = [{}, { Origin: a.url }, { 'Sec-Fetch-Site': 'same-origin' }]
  for (const headers of own) expect((await a.post('/reset-stuck', headers)).status).toBe(200)
  const form = await a.post('/reset-stuck', { Origin: a.url, Accept: 'text/html,*/*;q=0.8' })
  expect([form.status, form.headers.get('location')]).toEqual([303, '/'])
})
