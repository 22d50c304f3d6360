/** Two nodes of which one is stopped: everything that an operator may look at names it, and steering does what it says. */
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { sessionLock } from '../cli/program.ts'
import { type NodeProcess, spawnNode } from '../processes/spawn-node.ts'
import { sharedStores } from '../stores/shared-stores.ts'
import { openBrowser, type TestBrowser } from './browser.ts'

const TABLE_PREFIX = 'stopped_'
const STALE_AFTER_MS = 2000

let browser: TestBrowser
beforeAll(async () => {
  browser = await openBrowser()
})
afterAll(() => browser.close())

describe.each(sharedStores)('on $name', ({ url, forget }) => {
  const nodes: NodeProcess[] = []
  const ports: string[] = []
  const say = (...words: string[]) => sessionLock([...words, '--store', url(), '--table-prefix', TABLE_PREFIX])

  async function start(nodeId: string): Promise<void> {
    const options = {
      store: url(),
      tablePrefix: TABLE_PREFIX,
      nodeId,
      staleAfterMs: STALE_AFTER_MS,
      storeTimeoutMs: 1500,
    }
    const node = spawnNode(new URL('children/node.mjs', import.meta.url), [JSON.stringify({ options })])
    const [, port = ''] = await node.waitForLine(/^listening (\d+)/)
    nodes.push(node)
    ports.push(port)
  }

  async function hold(at: number, prospect: string): Promise<void> {
    const body = JSON.stringify({ prospect })
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(`http://127.0.0.1:${ports[at]}/hold`, { method: 'POST', headers, body })
    expect(answer.status).toBe(200)
  }

  async function stats(): Promise<{ nodes: unknown[]; stale: Array<{ name: string; nodeId: string }> }> {
    return (await fetch(`http://127.0.0.1:${ports[0]}/locks/api/stats`)).json() as never
  }

  /** Both stopped sessions are named in one line each, with their node. */
  async function untilPageNamesThem(page: Page): Promise<void> {
    for (const name of ['stopped-1', 'stopped-2']) {
      await page.locator('#sessions tr.stale', { hasText: name }).filter({ hasText: 'node-two' }).waitFor()
    }
    await page.locator('#nodes .bad', { hasText: 'node-two' }).filter({ hasText: '2 stale' }).waitFor()
  }

  beforeAll(async () => {
    await forget(new Set([TABLE_PREFIX]))
    await start('node-one')
    await start('node-two')
  })
  afterAll(async () => {
    for (const node of nodes) node.kill('SIGKILL')
    await Promise.all(nodes.map(({ exited }) => exited))
    await forget(new Set([TABLE_PREFIX]))
  })

  test('a stopped node is named with its sessions; release frees exactly these, and with force a live one', async () => {
    const page = await browser.newPage(`http://127.0.0.1:${ports[0]}/locks/`)
    await hold(0, 'live-1')
    await hold(1, 'stopped-1')
    await hold(1, 'stopped-2')
    nodes[1]?.kill('SIGSTOP')
    await expect.poll(async () => (await stats()).stale.length).toBe(2)
    const { stale, nodes: shown } = await stats()
    expect(stale.map(({ name, nodeId }) => [name, nodeId]).toSorted()).toEqual([
      ['stopped-1', 'node-two'],
      ['stopped-2', 'node-two'],
    ])
    expect(shown).toContainEqual(expect.objectContaining({ nodeId: 'node-two', sessions: 2, stale: 2 }))
    await untilPageNamesThem(page)
    const listed = (await say('sessions', '--stale')).stdout
    expect(listed).toMatch(/stopped-1 .*node-two .*stale/)
    expect(listed).toMatch(/stopped-2 .*node-two .*stale/)
    expect(listed).not.toContain('live-1')
    expect((await say('stats')).stdout).toMatch(/node-two +2 +2/)
    expect((await say('doctor')).stdout).toMatch(
      /node node-two has renewed nothing for \d+ s; stale: stopped-[12], stopped-[12]/,
    )

    expect(await say('release', 'live-1', '--yes')).toMatchObject({
      code: 3,
      stdout: expect.stringMatching(/^refused: live-1 .*--force/),
    })
    expect(await say('release', '--stale', '--yes')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/2 sessions released\n$/),
    })
    expect((await say('sessions')).stdout).toMatch(/^[^\n]+\nlive-1 [^\n]+\n$/)
    await page.locator('#sessions', { hasNotText: 'stopped' }).locator('tr', { hasText: 'live-1' }).waitFor()
    expect(nodes[0]?.lines).not.toContain('lost live-1')

    nodes[1]?.kill('SIGCONT')
    await nodes[1]?.waitForLine(/^lost stopped-1/)
    await nodes[1]?.waitForLine(/^lost stopped-2/)
    expect(await say('release', 'live-1', '--force', '--yes')).toMatchObject({ code: 0 })
    await nodes[0]?.waitForLine(/^lost live-1/)
    await page.locator('#sessions', { hasText: 'No session is held.' }).waitFor()
    expect(page.url()).toMatch(/\/locks\/$/)
    await browser.closePages()
  }, 90_000)
})
