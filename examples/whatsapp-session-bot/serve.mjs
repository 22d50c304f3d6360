import { once } from 'node:events'

const LOOK_FOR_IDLE_EVERY_MS = 100

/**
 * Serves until SIGTERM (or Ctrl-C): then nothing new is taken, what is in hand is finished, and the process ends.
 *
 * @param finish - waits for what is in hand
 * @param end - closes what is needed until then
 */
export function serve(app, { port, finish, end }) {
  const server = app.listen(port, (error) => {
    if (error) throw error
    console.log(`the bot listens on port ${server.address().port}`)
  })

  async function shutDown() {
    console.log('the bot is shutting down')
    const closed = once(server, 'close')
    server.close()
    await finish()
    // Connections that are kept alive would keep this process alive too.
    const timer = setInterval(() => server.closeIdleConnections(), LOOK_FOR_IDLE_EVERY_MS)
    await closed
    clearInterval(timer)
    await end()
  }
  process.once('SIGTERM', shutDown)
  process.once('SIGINT', shutDown)
}
