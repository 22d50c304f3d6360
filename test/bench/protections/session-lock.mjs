/** The lock itself, of the repository's build. */
import { pino } from 'pino'
import { createSessionLock, sessionLock } from '../../../dist/index.js'

export async function protect({ handler, ...options }) {
  const lock = createSessionLock({ ...options, logger: pino({ level: 'warn' }) })
  await lock.ready()
  return { middleware: [sessionLock(lock)], handler, stats: () => lock.stats(), close: () => lock.close() }
}
