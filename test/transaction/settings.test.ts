/** Settings of the server that handlers' connections have, as they are the user's own. */
import { createConnection } from 'mysql2/promise'
import { expect, onTestFinished, test } from 'vitest'
import { createSessionLock } from '../../src/index.ts'
import { startInbox } from '../inbox/world.ts'
import { startMariadb } from '../servers/mariadb.ts'

async function serverWith(setting: string): Promise<string> {
  const server = await startMariadb()
  onTestFinished(() => server.stop())
  const connection = await createConnection(server.url)
  await connection.query(`SET GLOBAL ${setting}`)
  await connection.end()
  return server.url
}

test('the next message of a session is due at once, whatever the time zone', { timeout: 60_000 }, async () => {
  const store = await serverWith(`time_zone = '+05:30'`)
  const lockOptions = { strategy: 'transaction' } as const
  const world = await startInbox(
    { store, tablePrefix: 'zone_' },
    (_, call) => {
      if (call === 2) throw new Error('once')
    },
    { lockOptions },
  )
  await world.send('anna', 'm1', 'm2', 'm3')
  await world.untilEmpty()
  expect(world.calls.flat()).toEqual(['m1', 'm2', 'm2', 'm3'])
  await world.close()
})

test('where quoting does not work, nothing is quoted', { timeout: 60_000 }, async () => {
  const store = await serverWith(`sql_mode = 'NO_BACKSLASH_ESCAPES'`)
  const lock = createSessionLock({ store, strategy: 'transaction', logger: false })
  onTestFinished(() => lock.close())
  const running = lock.run({ messageId: "' OR 1 = 1 -- " }, () => 'never')
  await expect(running).rejects.toMatchObject({ kind: 'setup', message: expect.stringContaining('sql_mode') })
})
