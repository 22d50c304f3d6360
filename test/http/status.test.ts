/** What the handler's status means for its messages; on both Express versions. */
import { describe, expect, it } from 'vitest'
import { sessionLock } from '../../src/http/express.ts'
import { botOn, expressVersions, holdOf, listen, lockThatGives, post, whatsapp } from './bot.ts'

const ADA = whatsapp('ada')

describe.each(expressVersions)('%s', (_, express) => {
  const botWith = botOn(express)

  it.each([200, 201, 204, 302, 304, 400, 410, 422])('%i completes the message', async (status) => {
    const bot = await botWith((_req, res) => res.status(status).end())
    expect((await post(bot.url, ADA)).status).toBe(status)
    expect(await bot.hold.settled).toEqual({ status: 'completed' })
  })

  it.each([401, 403, 404, 409, 429, 500, 502, 503])('%i fails it', async (status) => {
    const bot = await botWith((_req, res) => res.status(status).end())
    expect((await post(bot.url, ADA)).status).toBe(status)
    expect(await bot.hold.settled).toMatchObject({
      status: 'failed',
      error: { message: `the handler answered ${status}` },
    })
  })

  it('a route that is not there fails it', async () => {
    const hold = holdOf([0])
    const app = express()
    app.use(sessionLock(lockThatGives(hold).lock))
    expect((await post(await listen(app), ADA)).status).toBe(404)
    expect((await hold.settled).status).toBe('failed')
  })

  it('isSuccess decides in its place; when it throws, the message fails', async () => {
    const never = await botWith((_req, res) => res.sendStatus(200), {
      options: { isSuccess: (status) => status === 500 },
    })
    await post(never.url, ADA)
    expect((await never.hold.settled).status).toBe('failed')
    const isSuccess = () => {
      throw new Error('a bug')
    }
    const broken = await botWith((_req, res) => res.sendStatus(200), { options: { isSuccess } })
    await post(broken.url, ADA)
    expect(await broken.hold.settled).toMatchObject({ status: 'failed', error: { message: 'a bug' } })
  })
})
