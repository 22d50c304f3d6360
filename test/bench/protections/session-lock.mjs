/** The lock itself, of the repository's build, as most bots use it. */
import { pino } from 'pino'
import { sessionLock } from '../../../dist/index.js'

export async function protect({ handler, ...options }) {
  const middleware = sessionLock({ ...options, logger: pino({ level: 'warn' }) })
  return {
    middleware: [middleware],
    handler,
    stats: () => middleware.lock.stats(),
    close: () => middleware.lock.close(),
  }
}
