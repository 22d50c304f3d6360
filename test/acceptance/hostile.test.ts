/** Ids that collide, bodies that are no deliveries, sizes beyond the limits: a clear answer, never a 500 of ours. */
import { describe, expect, test } from 'vitest'
import { createWorld, delivery, installations, post } from './world.ts'

/** Each of these is a message of its own: no database may take two of them for one. */
const DIFFERENT = [
  'a',
  'A',
  'Ä',
  'ä',
  'a\u0308',
  'á',
  'a ',
  'a  ',
  ' a',
  'a\t',
  'a\0',
  'a\0b',
  '\0',
  '\ud800',
  '\udc00',
  '\ud800a',
  '\ufffd',
  '😀',
  '😁',
  '%0000',
  '%d800',
  '%',
  '%25',
  "'; drop table x; --",
  '\\',
  '\\0',
  '1:a',
  '-:',
  'ß',
  'ss',
  'ﬀ',
  'ff',
  'İ',
  'i̇',
  '１',
  '1',
]

describe.each(installations)('$name', (installation) => {
  test('ids that look alike are different, and each is handled once', async () => {
    const world = await createWorld(installation)
    const bots = await Promise.all([world.bot(), world.bot()])
    for (const bot of bots) {
      const answers = await Promise.all(
        DIFFERENT.map((id, index) => bot.post(delivery([{ id, from: `1555${index}` }]))),
      )
      expect(answers.map((answer) => answer.status)).toEqual(DIFFERENT.map(() => 200))
    }
    expect(DIFFERENT.filter((id) => world.runs(id) !== 1)).toEqual([])
  })

  test('prospects that look alike are different sessions', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot({ lockWaitMs: 100 })
    const answers = await Promise.all(
      DIFFERENT.map((from, index) => bot.post(delivery([{ id: `wamid.${index}`, from, task: { sleepMs: 2000 } }]))),
    )
    expect(answers.map((answer) => answer.status)).toEqual(DIFFERENT.map(() => 200))
  })

  test('512 bytes are stored or hashed, 513 are refused, whatever the characters', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    for (const char of ['x', 'ä', '😀', '%', '\0']) {
      const bytes = Buffer.byteLength(char)
      const longest = char.repeat(Math.floor(512 / bytes))
      const last = [...longest].slice(0, -1).join('')
      for (const id of [longest, `${last}${'y'.repeat(bytes)}`]) {
        expect((await bot.post(delivery([{ id, from: id }]))).status).toBe(200)
        expect((await bot.post(delivery([{ id, from: id }]))).headers.get('session-lock')).toBe('duplicate')
        expect(world.runs(id)).toBe(1)
      }
      const tooLong = longest + 'x'.repeat(513 - Buffer.byteLength(longest))
      for (const message of [{ id: tooLong }, { id: 'wamid.1', from: tooLong }, { id: 'x'.repeat(10_000) }]) {
        const refused = await bot.post(delivery([message]))
        expect(refused.status).toBe(400)
        expect(refused.headers.get('content-type')).toContain('application/problem+json')
        expect(JSON.parse(refused.body).detail).toMatch(/512/)
      }
    }
  })

  test('a number or an object is no id', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    for (const wrong of [7, { $ne: null }, ['a'], true]) {
      for (const message of [{ id: wrong }, { id: 'wamid.1', from: wrong }]) {
        const refused = await bot.post(delivery([message]))
        expect([wrong, refused.status]).toEqual([wrong, 400])
        expect(refused.headers.get('session-lock')).toBe('invalid-key')
      }
    }
    expect(world.notes()).toEqual([])
  })

  test('a body of 5 MB is refused with 413 where we read it, and broken JSON with 400', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    const huge = delivery([{ id: 'wamid.huge', task: { text: 'x'.repeat(5_000_000) } }])
    const refused = await bot.post(huge, { path: '/bare' })
    expect(refused.status).toBe(413)
    expect(refused.headers.get('content-type')).toContain('application/problem+json')
    expect((await bot.post('{"object":', { path: '/bare' })).status).toBe(400)
    expect((await bot.post(huge)).status).toBe(200)
    expect(world.runs('wamid.huge')).toBe(1)
  })

  test('what is no delivery passes untouched', async () => {
    const world = await createWorld(installation)
    const bot = await world.bot()
    const answer = await fetch(`${bot.url}/webhook`)
    expect([answer.status, await answer.text()]).toEqual([200, 'untouched'])
    expect((await fetch(`${bot.url}/webhook`, { method: 'HEAD' })).status).toBe(200)
    // The handler finds nothing to read in it; that is its own affair, and its own error.
    expect((await post(`${bot.url}/webhook`, { hello: 'world' })).headers.get('session-lock')).toBeNull()
    expect(await bot.ask('messages')).toEqual([])
  })
})
